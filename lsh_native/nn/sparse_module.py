"""What all sparse modules share: masks over named weights, and the patterns that kernels read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from lsh_native.nn.live_weights import live_values
from lsh_native.sparsity.form import form_of
from lsh_native.sparsity.mask import count_true, draw_mask, largest_mask
from lsh_native.sparsity.packed import keeps_packed, kept_form
from lsh_native.sparsity.pattern import empty_pattern, full_pattern, pack_pattern_, pattern_room
from lsh_native.sparsity.transforms import is_transformed
from lsh_native.sparsity.zero_dead import zero_dead, zero_dead_

__all__ = ["SparseModule", "zero_forward"]


class _ZeroForward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, absent: Tensor) -> Tensor:
        return values.masked_fill(absent, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def zero_forward(values: Tensor, absent: Tensor) -> Tensor:
    """Zero where absent, with the gradient of the identity: a dense gradient."""
    # torch has no type for apply
    result: Tensor = _ZeroForward.apply(values, absent)  # type: ignore[no-untyped-call]
    return result


class _Masked(torch.autograd.Function):
    """A masked weight for a dense kernel that alone reads it and gives it a gradient of its own."""

    @staticmethod
    def forward(weight: Tensor, mask: Tensor, dense_gradient: bool) -> Tensor:
        return zero_dead(weight, mask)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, mask, ctx.dense_gradient = inputs
        ctx.save_for_backward(mask)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        if ctx.dense_gradient:
            return grad, None, None
        if torch.is_grad_enabled() or not grad.is_contiguous():  # or a derivative of it is wanted
            return grad.masked_fill(~mask, 0), None, None
        zero_dead_([grad], mask)
        return grad, None, None


class SparseModule(nn.Module):
    """A module whose weights may be masked.

    Weights stay dense parameters with `torch.nn`'s names and shapes; what a mask leaves out is
    neither read nor given a gradient. For a weight `w` with a mask, the buffer `w_mask` (bool)
    travels in the state dict. A weight without one is fully connected, so that a module that was
    never masked has exactly `torch.nn`'s state dict.

    Attributes:
        gradient: `"masked"` for gradients where there is a connection, `"dense"` for gradients at
            every entry of a masked weight, as growth by gradient and the clipping of dense
            gradient norms need them.
    """

    maskable: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._gradient = "masked"
        self._masked: set[str] = set()  # the weights that are not fully connected
        self._own_masks: set[str] = set()  # the weights whose mask no one else reads
        self._live: dict[str, int] = {}  # connections of weights that were given a mask
        self._density = 1.0  # as of the last change of masks

    @property
    def gradient(self) -> str:
        """Which gradients a masked weight gets: "masked" or "dense"."""
        return self._gradient

    @gradient.setter
    def gradient(self, kind: str) -> None:
        if kind not in ("masked", "dense"):
            raise ValueError(f"gradient must be 'masked' or 'dense', got {kind!r}")
        self._gradient = kind

    def _weight(self, name: str) -> Tensor:
        """A weight by name; a plain tensor where one stands in for the parameter."""
        weight: Tensor = getattr(self, name)
        return weight

    def operand(self, name: str) -> Tensor:
        """What kernels read of a weight: the weight, or its live values, see `LiveWeights`."""
        weight = self._weight(name)
        if name not in self._masked:
            return weight
        dense = self.gradient == "dense"
        return live_values(weight, self._pattern(name), dense_gradient=dense)

    def live_pattern(self, name: str) -> Tensor | None:
        """The pattern of a weight of which kernels always read connections only, else None."""
        return self._pattern(name) if name in self._masked else None

    def _init_masks(self, density: float) -> None:
        """For a subclass to call when its parameters exist; draws masks below density 1."""
        if not 0.0 <= density <= 1.0:
            raise ValueError(f"density must be in [0, 1], got {density}")
        for name in self.maskable:
            self.register_buffer(f"{name}_mask", None, persistent=True)
            self.register_buffer(f"{name}_pattern", None, persistent=False)
        if density < 1.0:
            seed = int(torch.randint(2**62, ()))  # torch's global generator, as for the parameters
            generator = torch.Generator().manual_seed(seed)
            weights = {name: self._weight(name) for name in self.maskable}
            self.set_masks(
                {
                    name: draw_mask(round(density * weight.numel()), weight.shape, generator)
                    for name, weight in weights.items()
                }
            )

    def _keep_largest(self, density: float) -> None:
        """Masks that keep each weight's largest magnitudes, of connected entries only."""
        if not 0.0 <= density <= 1.0:
            raise ValueError(f"density must be in [0, 1], got {density}")
        if density < 1.0:
            masks = {}
            for name in self.maskable:
                weight, mask = self._weight(name).detach(), self._full_mask(name)
                count = min(round(density * weight.numel()), int(mask.count_nonzero()))
                masks[name] = largest_mask(weight, count, mask)
            self.set_masks(masks)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Sets the masks of the weights named; the others keep theirs.

        Weights are left as they are: an entry outside its mask is not read, and comes back if the
        mask does.

        Args:
            masks: bool tensors of the weights' shapes, on any device, by parameter name, for
                example `weight_hh_l0`.

        Raises:
            KeyError: a name that is no maskable weight.
            TypeError: a mask that is not bool.
            ValueError: a mask of another shape than its weight.
        """
        for name, mask in masks.items():
            self._check_mask(name, mask)
        for name, mask in masks.items():
            self._set_mask(name, mask.detach())
        self._pack(masks)

    def share_masks(self, masks: Mapping[str, Tensor]) -> None:
        """As `set_masks`, for one who never writes to these masks: on the CPU they are kept."""
        for name, mask in masks.items():
            self._check_mask(name, mask)
        for name, mask in masks.items():
            if mask.device == self._weight(name).device == torch.device("cpu"):
                setattr(self, f"{name}_mask", mask)
                self._own_masks.discard(name)
            else:
                self._set_mask(name, mask.detach())
        self._pack(masks)

    def _check_mask(self, name: str, mask: Tensor) -> None:
        if name not in self.maskable:
            raise KeyError(f"masks must be named {', '.join(self.maskable)}, got {name!r}")
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"the mask of {name} must be a bool tensor, got {kind}")
        shape = self._weight(name).shape
        if mask.shape != shape:
            raise ValueError(
                f"the mask of {name} must have shape {tuple(shape)}, got {tuple(mask.shape)}"
            )

    def _set_mask(self, name: str, mask: Tensor) -> None:
        """Copies a mask, to where the last one stands unless others read that too."""
        device = self._weight(name).device
        kept = self._mask(name)
        if kept is None or kept.device != device or name not in self._own_masks:
            setattr(self, f"{name}_mask", mask.to(device, copy=True))
            self._own_masks.add(name)
        else:
            kept.copy_(mask)

    def _pack(self, changed: Iterable[str]) -> None:
        """Brings patterns up to date with the masks of the weights that changed.

        Dense kernels serve a module without any masked weight; beside a masked weight, a fully
        connected one has a full pattern.
        """
        sizes = {name: self._weight(name).numel() for name in self.maskable}
        for name in changed:
            self._live[name] = count_true(self._full_mask(name))
        self._masked = {name for name, live in self._live.items() if live < sizes[name]}
        connected = sum(self._live.get(name, size) for name, size in sizes.items())
        self._density = connected / max(1, sum(sizes.values()))
        for name in self.maskable:
            if not self._masked:
                setattr(self, f"{name}_pattern", None)
            elif name in changed or getattr(self, f"{name}_pattern") is None:
                self._pack_one(name)

    def _pack_one(self, name: str) -> None:
        """Writes a weight's pattern, in place while its capacity lasts."""
        mask = self._full_mask(name)
        rows, columns = mask.shape
        count = self._live.get(name, mask.numel())
        pattern = getattr(self, f"{name}_pattern")
        capacity = -1 if pattern is None else pattern_room(pattern.numel(), rows, columns)[0]
        if count > capacity or pattern.device != mask.device:
            room = min(mask.numel(), count if pattern is None else count + count // 8)
            pattern = empty_pattern(rows, columns, room, mask.device)
            setattr(self, f"{name}_pattern", pattern)
        pack_pattern_(pattern, mask)

    def _pattern(self, name: str) -> Tensor:
        """The weight's pattern; a full one, made once, where nothing of the module is masked."""
        pattern: Tensor | None = getattr(self, f"{name}_pattern")
        if pattern is None:
            rows, columns = self._weight(name).shape
            pattern = full_pattern(rows, columns, self._weight(name).device)
            if not (torch.compiler.is_compiling() or is_transformed()):
                setattr(self, f"{name}_pattern", pattern)
        return pattern

    @property
    def _dense(self) -> bool:
        """Whether every weight is fully connected."""
        return not self._masked

    def masks(self) -> dict[str, Tensor]:
        """Copies of the mask of each maskable weight, by name; all true where none was set."""
        return {name: self._full_mask(name).clone() for name in self.maskable}

    def _mask(self, name: str) -> Tensor | None:
        """The weight's mask, None where none was set."""
        mask: Tensor | None = getattr(self, f"{name}_mask")
        # torch.nn.utils.prune, used on this module, puts a mask of numbers in the buffer's place
        return mask if mask is None or mask.dtype == torch.bool else mask != 0

    def _full_mask(self, name: str) -> Tensor:
        mask = self._mask(name)
        return torch.ones_like(self._weight(name), dtype=torch.bool) if mask is None else mask

    def density(self) -> float:
        """Share of the maskable weights' entries that is connected, in [0, 1]."""
        masks = [self._full_mask(name) for name in self.maskable]
        return sum(count_true(mask) for mask in masks) / max(1, sum(mask.numel() for mask in masks))

    def _dense_form(self, name: str) -> Tensor:
        """A weight for dense kernels, zero where masked, with the kind of gradient asked for.

        Inside `PackedWeights` it is made once.
        """
        weight, mask = self._weight(name), self._mask(name)
        if mask is None:
            return weight
        if keeps_packed():
            buffer = getattr(self, f"{name}_mask")  # `_mask` may have made another of it
            return kept_form((weight, buffer), "dense", partial(self.masked_weight, name))
        dense = self.gradient == "dense"
        if is_transformed() or torch.compiler.is_compiling():
            return zero_forward(weight, ~mask) if dense else self.masked_weight(name)
        # torch has no type for apply
        masked: Tensor = _Masked.apply(weight, mask, dense)  # type: ignore[no-untyped-call]
        return masked

    def masked_weight(self, name: str) -> Tensor:
        """A weight with zeros where it is not connected."""
        weight = self._weight(name)
        mask = self._mask(name)
        return weight if mask is None else weight.masked_fill(~mask, 0)

    def explain(self) -> str:
        """Which kernel runs for each weight, and the form of its mask, one line a weight."""
        lines = []
        for name in self.maskable:
            form = form_of(self._full_mask(name), self._gates(name))
            kernel = self._kernel(name)
            if form.shared_rows > 1 and "sparse" in kernel:
                kernel += f", which reads its operand for {form.shared_rows} rows at once"
            lines.append(f"{name}: {form.rows} x {form.columns}, {form}: {kernel}")
        return "\n".join(lines)

    def _gates(self, name: str) -> int:
        """How many gates stand above each other in a weight."""
        return 1

    def _kernel(self, name: str) -> str:
        """What runs a weight, in words."""
        sparse = name in self._masked
        return "sparse kernel, compressed rows" if sparse else "torch's dense kernel"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Packs patterns anew where they came to another kind of device, which reads others."""
        before = self._pattern_devices()
        # torch has no type for it
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        after = self._pattern_devices()
        moved = [n for n in after if {before.get(n), after[n]} == {"cpu", "cuda"}]
        for name in moved:
            setattr(self, f"{name}_pattern", None)
        if moved:
            self._pack(())
        return self

    def _pattern_devices(self) -> dict[str, str]:
        """The kind of device of each pattern that there is."""
        patterns = {name: getattr(self, f"{name}_pattern", None) for name in self.maskable}
        return {name: p.device.type for name, p in patterns.items() if p is not None}

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any, **options: Any
    ) -> None:
        """Accepts masks that this module lacks so far, and the keys of `torch.nn.utils.prune`."""
        for name in self.maskable:
            original = state_dict.pop(f"{prefix}{name}_orig", None)
            if original is not None:
                state_dict[f"{prefix}{name}"] = original
        given = {
            name: mask if mask.dtype == torch.bool else mask != 0
            for name in self.maskable
            if (mask := state_dict.get(f"{prefix}{name}_mask")) is not None
        }
        for name, mask in given.items():
            self._check_mask(name, mask)
        for name, mask in given.items():
            state_dict[f"{prefix}{name}_mask"] = mask
            if self._mask(name) is None or name not in self._own_masks:  # torch writes to it
                empty = torch.empty_like(mask, device=self._weight(name).device)
                setattr(self, f"{name}_mask", empty)
                self._own_masks.add(name)
        super()._load_from_state_dict(state_dict, prefix, *arguments, **options)
        self._pack([name for name in self.maskable if self._mask(name) is not None])
