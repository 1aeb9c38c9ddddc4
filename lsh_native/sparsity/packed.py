"""Weights packed once for many calls, while the caller promises that they stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar, Token
from typing import Self

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from lsh_native import native as native  # registers the operators

__all__ = ["FEW", "PackedWeights", "keeps_packed", "kept_form", "packed_weight"]

FEW = 7
"""Items up to which a product looks its operand up in registers; from 8 on, they are lanes."""

_WIDEST = 32  # lanes that a product takes at once

_Forms = WeakTensorKeyDictionary

_kept: ContextVar[_Forms | None] = ContextVar("kept_packed", default=None)


class PackedWeights:
    """Within it, calls without gradients pack each weight for the CPU's kernels only once.

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


def packed_weight(weight: Tensor, pattern: Tensor, *, gates: int, items: int) -> Tensor:
    """A weight in the form that a forward operator should be given it where `keeps_packed`.

    Args:
        weight: (R, C) dense, or packed values in the pattern's row order.
        pattern: of the weight.
        gates: rows of a unit.
        items: vectors that the weight is multiplied with at a time.

    Returns:
        Bytes that stand for the weight, made once; the weight itself off the CPU, and where torch
        does not count its versions.
    """
    if _kept.get() is None or items == 0 or weight.device.type != "cpu":
        return weight
    if weight.is_inference() or pattern.is_inference():
        return weight
    lanes = items if items <= FEW else min((items + 3) // 4 * 4, _WIDEST)

    def pack() -> Tensor:
        rows, columns = pattern[2:4].tolist()
        packed: Tensor = torch.ops.lsh.pack_weight.default(
            weight, pattern, rows, columns, gates, lanes
        )
        return packed

    return kept_form(weight, pattern, (gates, lanes), pack)


def kept_form(weight: Tensor, mask: Tensor, kind: Hashable, make: Callable[[], Tensor]) -> Tensor:
    """What `make()` gives, kept inside `PackedWeights` until `weight` or `mask` changes.

    Args:
        weight: what the form is made of.
        mask: the mask, or the pattern, that it was made with.
        kind: tells forms of one weight apart.
        make: makes it.
    """
    kept = _kept.get()
    if kept is None or weight.is_inference() or mask.is_inference():
        return make()
    state = (weight._version, weight.data_ptr(), mask._version, mask.data_ptr())
    forms = kept.setdefault(weight, {})
    form: Tensor
    known, form = forms.get(kind, (None, weight))
    if known != state:
        form = make()
        forms[kind] = state, form
    return form


@torch.library.register_fake("lsh::pack_weight")
def _(weight: Tensor, pattern: Tensor, rows: int, columns: int, gates: int, lanes: int) -> Tensor:
    size = torch.library.get_ctx().new_dynamic_size()
    return weight.new_empty(size, dtype=torch.uint8)
