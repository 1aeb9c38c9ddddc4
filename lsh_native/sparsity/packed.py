"""Weights packed once for many calls, while the caller promises that they stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar, Token
from typing import Any, Self, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from lsh_native import native as native  # registers the operators

__all__ = [
    "FEW",
    "PackedWeights",
    "at_once",
    "keeps_packed",
    "kept_form",
    "lanes_of",
    "packed_weight",
]

_Form = TypeVar("_Form")

FEW = 7
"""Items up to which a product looks its operand up in registers; from 8 on, they are lanes."""

_WIDEST = 32  # lanes that a product takes at once

_Forms = WeakTensorKeyDictionary

_kept: ContextVar[_Forms | None] = ContextVar("kept_packed", default=None)


class PackedWeights:
    """Within it, modules called without gradients pack each weight for the CPU only once.

    What a kernel makes of a weight before it multiplies takes as long as a few steps of a sequence,
    and is made anew with every call, as weights change with every step of training. Where they do
    not, as in evaluation and generation, one call can serve all that follow. Entered again, it
    still has what it packed before.

    The caller promises that weights and masks stay as they are. What torch's version counters tell
    of is noticed none the less and packed again; a change through `.data` is not.

    Example:
        >>> from lsh_native.nn import SparseLSTM
        >>> layer, x = SparseLSTM(8, 16, density=0.25), torch.zeros(5, 1, 8)
        >>> with torch.no_grad(), PackedWeights():
        ...     outputs = [layer(x)[0] for _ in range(3)]
    """

    def __init__(self) -> None:
        self._forms = _Forms()
        self._tokens: list[Token[_Forms | None]] = []

    def __enter__(self) -> Self:
        """Begins to keep what is packed."""
        self._tokens.append(_kept.set(self._forms))
        return self

    def __exit__(self, *error: object) -> None:
        """Returns to how it was before."""
        _kept.reset(self._tokens.pop())


def keeps_packed() -> bool:
    """Whether weights are to be packed once: inside `PackedWeights`, without gradients."""
    compiling = torch.compiler.is_compiling()
    return not (compiling or torch.is_grad_enabled()) and _kept.get() is not None


def lanes_of(items: int) -> int:
    """What a packed weight depends on of the number of vectors that it is multiplied with."""
    return items if items <= FEW else min((items + 3) // 4 * 4, _WIDEST)


def packed_weight(weight: Tensor, pattern: Tensor, *, gates: int, items: int) -> Tensor:
    """A weight as the bytes that a forward operator of the CPU takes in its place.

    Args:
        weight: (R, C) dense, or packed values in the pattern's row order.
        pattern: of the weight.
        gates: rows of a unit.
        items: vectors that the weight is multiplied with at a time.

    Returns:
        Bytes that stand for the weight; the weight itself off the CPU, and for no vectors.
    """
    if items == 0 or weight.device.type != "cpu":
        return weight
    rows, columns = pattern[2:4].tolist()
    packed: Tensor = torch.ops.lsh.pack_weight.default(
        weight, pattern, rows, columns, gates, lanes_of(items)
    )
    return packed


def at_once(items: int) -> int:
    """Vectors that a product of many takes at a time: whole registers of them."""
    return items if items <= FEW else (items + 15) // 16 * 16


def kept_form(
    made_of: Sequence[Tensor],
    kind: Hashable,
    make: Callable[[], _Form],
    plain: Callable[[], _Form] | None = None,
) -> _Form:
    """What `make()` gives, kept inside `PackedWeights` until a tensor that it is made of changes.

    Args:
        made_of: the tensors, a weight first: what is kept lives no longer than that.
        kind: tells forms of one weight apart.
        make: makes it; what it gives must not hold the first tensor.
        plain: called instead where torch does not count a tensor's versions; `make` by default.
    """
    kept = _kept.get()
    if kept is None or any(tensor.is_inference() for tensor in made_of):
        return (plain or make)()
    state = [(tensor._version, tensor.data_ptr()) for tensor in made_of]
    forms: dict[Hashable, Any] = kept.setdefault(made_of[0], {})
    known, form, _ = forms.get(kind, (None, None, None))
    if known == state:
        kept_before: _Form = form
        return kept_before
    made = make()
    forms[kind] = state, made, made_of[1:]  # held, so that no other tensor gets their memory
    return made


@torch.library.register_fake("lsh::pack_weight")
def _(weight: Tensor, pattern: Tensor, rows: int, columns: int, gates: int, lanes: int) -> Tensor:
    size = torch.library.get_ctx().new_dynamic_size()
    return weight.new_empty(size, dtype=torch.uint8)
