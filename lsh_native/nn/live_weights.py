"""LiveWeights: the connections of a model as parameters of their own, so that training skips zeros.

A masked weight is dense, and so are its gradient, the norm of that and the step of an optimizer:
work and memory for entries that stay zero. Here the values of its connections are a leaf of their
own, (N,), which kernels read in the weight's place. Gradients, clipping and any of torch's
optimizers then take N numbers, and the weight gets its new values in one pass.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from lsh_native.sparsity.live import read_live, write_live_
from lsh_native.sparsity.pattern import pattern_parts
from lsh_native.sparsity.transforms import is_transformed

__all__ = ["LiveValues", "LiveWeights", "live_values"]

_State = tuple[int, int]


def _state(tensor: Tensor) -> _State:
    """What tells whether a tensor was changed: torch counts its versions."""
    return tensor._version, tensor.data_ptr()


class LiveValues:
    """The values of one weight's connections.

    Attributes:
        weight: (R, C), the weight.
        pattern: of the weight.
        leaf: (N,), in the pattern's row order; the same parameter when masks change, and N.
    """

    def __init__(self, weight: nn.Parameter, pattern: Tensor, entered: int) -> None:
        self.weight = weight
        self.leaf = nn.Parameter(weight.new_empty(0), weight.requires_grad)
        self._read(pattern, entered)

    @torch.no_grad()
    def _read(self, pattern: Tensor, entered: int) -> None:
        self._entered = entered
        self.pattern = pattern
        self.leaf.data = read_live(self.weight.detach(), pattern)
        self.leaf.grad = None
        self._values = _state(self.weight)
        self._patterns = {_state(pattern)}  # of modules that share the weight, all the same

    @property
    def current(self) -> bool:
        """Whether neither the weight nor its pattern was changed by others."""
        return self._values == _state(self.weight) and _state(self.pattern) in self._patterns

    def refresh_(self, pattern: Tensor, entered: int, *, fixed: bool = False) -> None:
        """Reads the values again if the weight or its pattern were changed.

        Args:
            pattern: of the weight, as a module has it now.
            entered: how often `LiveWeights` was entered; masks may change in between.
            fixed: whether masks may not change at all.

        Raises:
            RuntimeError: the connections are others, and may not be.
        """
        same_values = self._values == _state(self.weight)
        if same_values and _state(pattern) in self._patterns:
            self._entered = entered
            return
        unchanged = _state(self.pattern) in self._patterns
        if same_values and unchanged and _same_connections(pattern, self.pattern):
            self._patterns.add(_state(pattern))
            return
        other_masks = _state(pattern) not in self._patterns
        if other_masks and fixed:
            raise RuntimeError(
                "masks must stay as they are while an optimizer holds live values: make both anew "
                "after a change"
            )
        if other_masks and entered == self._entered:
            raise RuntimeError(
                "masks must stay as they are within LiveWeights, and a weight that two modules "
                "share must have one mask"
            )
        self._read(pattern, entered)

    def write_(self) -> None:
        """Writes the values into the weight.

        Raises:
            RuntimeError: weight or mask were changed since the values were read.
        """
        if not self.current:
            raise RuntimeError("values must be written before their weight or mask changes")
        write_live_(self.weight.detach(), self.leaf.detach(), self.pattern)
        self._values = _state(self.weight)


def _same_connections(one: Tensor, other: Tensor) -> bool:
    a, b = pattern_parts(one), pattern_parts(other)
    return torch.equal(a.row_offsets, b.row_offsets) and torch.equal(a.column_of, b.column_of)


class LiveWeights:
    """Within it, kernels read the connections of masked weights from leaves, which get gradients.

    A leaf is made for a masked weight on the CPU, in float32 or float64, when a sparse module first
    reads it, or by `parameters`. The weight keeps its name and shape, and holds what it held until
    `write_`; its own `grad` stays None. A change of it by others is noticed at the next call, by
    torch's version counters: its values are then read again. A module whose `gradient` is "dense"
    reads its weight as ever, and so does whatever is without gradients, compiled, or under
    `torch.func`.

    Example:
        >>> from lsh_native.nn import SparseLinear
        >>> model, live = SparseLinear(8, 4, density=0.25), LiveWeights()
        >>> optimizer = torch.optim.SGD(live.parameters(model), lr=0.1)
        >>> with live:
        ...     model(torch.ones(2, 8)).sum().backward()
        >>> optimizer.step()
        >>> live.write_()
        >>> [tuple(parameter.shape) for parameter in live.parameters(model)]
        [(8,), (4,)]
    """

    def __init__(self) -> None:
        self._parts = WeakTensorKeyDictionary()
        self._tokens: list[Token[LiveWeights | None]] = []
        self._held = False
        self._entered = 0

    def __enter__(self) -> Self:
        """Begins to hand out leaves."""
        self._entered += 1
        self._tokens.append(_entered.set(self))
        return self

    def __exit__(self, *error: object) -> None:
        """Returns to how it was before."""
        _entered.reset(self._tokens.pop())

    def parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """What an optimizer of torch's is to train: leaves, and the parameters that have none.

        From now on a change of masks is refused, as the optimizer's state would not follow it, and
        so are dense gradients of these weights. `lsh_native.training.AveragedSGD` needs no such
        list: it is given the model's parameters and this object.
        """
        own: dict[nn.Parameter, list[tuple[Any, str]]] = {}
        for module in model.modules():
            for name, weight in module.named_parameters(recurse=False):
                own.setdefault(weight, []).append((module, name))
        found = []
        for weight, places in own.items():
            patterns = [
                pattern
                for module, name in places
                if hasattr(module, "live_pattern")
                and (pattern := module.live_pattern(name)) is not None
            ]
            if len(patterns) < len(places) or not _takes(weight):
                found.append(weight)
                continue
            for pattern in patterns:
                part = self._part(weight, pattern)
            found.append(part.leaf)
        self._held = True
        return found

    def trained(self, weight: Tensor) -> Tensor:
        """Where a weight's gradient is: its leaf, or the weight itself."""
        part = self.get(weight)
        return weight if part is None or part.leaf.grad is None else part.leaf

    def get(self, weight: Tensor) -> LiveValues | None:
        """The values of a weight, where a module has read them."""
        part: LiveValues | None = self._parts.get(weight)
        return part

    def write_(self) -> None:
        """Writes all values into their weights: to be called after every optimizer step."""
        for part in self._parts.values():
            part.write_()

    def _part(self, weight: nn.Parameter, pattern: Tensor) -> LiveValues:
        part = self.get(weight)
        if part is None:
            part = self._parts[weight] = LiveValues(weight, pattern, self._entered)
        part.refresh_(pattern, self._entered, fixed=self._held)
        return part

    def _leaf(self, weight: Tensor, pattern: Tensor, dense_gradient: bool) -> Tensor:
        """What a kernel reads in a weight's place."""
        if self._held and self.get(weight) is None:
            return weight
        if dense_gradient:
            if self._held:
                raise RuntimeError(
                    "gradients must be masked while an optimizer holds live values, got dense"
                )
            return weight
        if not (isinstance(weight, nn.Parameter) and _takes(weight)):
            return weight
        return self._part(weight, pattern).leaf


def _takes(weight: Tensor) -> bool:
    floating = weight.dtype in (torch.float32, torch.float64)
    return floating and weight.device.type == "cpu" and weight.is_contiguous()


_entered: ContextVar[LiveWeights | None] = ContextVar("live_weights", default=None)


def live_values(weight: Tensor, pattern: Tensor, *, dense_gradient: bool) -> Tensor:
    """What a kernel is to read for a weight: within `LiveWeights` its leaf (N,), else itself.

    Args:
        weight: (R, C), masked.
        pattern: of the weight.
        dense_gradient: whether every entry of the weight needs a gradient.
    """
    if torch.compiler.is_compiling():  # first, as compilers know no context variables
        return weight
    live = _entered.get()
    if live is None or is_transformed() or not torch.is_grad_enabled():
        return weight
    return live._leaf(weight, pattern, dense_gradient)
