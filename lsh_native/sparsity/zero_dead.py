"""Zero outside a mask: weights, their gradients and optimizer state of dead connections."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators


def zero_dead(tensor: Tensor, mask: Tensor) -> Tensor:
    """A copy of a tensor with zeros where the mask is false, in the place of NaN too.

    Args:
        tensor: contiguous, floating point, of the mask's shape and on its device.
        mask: bool, contiguous.

    Raises:
        RuntimeError: an operand that is none of this; the message says which.
    """
    copy: Tensor = torch.ops.lsh.zero_dead.default(tensor, mask)
    return copy


@torch.no_grad()
def zero_dead_(tensors: Sequence[Tensor], mask: Tensor) -> None:
    """Set to zero every entry of each tensor whose mask is false, NaN and infinities too.

    Args:
        tensors: Of the mask's shape, any dtype, on its device; changed in place.
        mask: Bool.

    Raises:
        ValueError: A tensor has another shape.
        TypeError: The mask is not bool.
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be bool, got {mask.dtype}")
    for tensor in tensors:
        if tensor.shape != mask.shape:
            raise ValueError(
                f"tensors must have the mask's shape {tuple(mask.shape)}, got {tuple(tensor.shape)}"
            )
    fast = [t for t in tensors if t.dtype in _FLOATING and t.is_contiguous()]
    if fast and mask.is_contiguous():
        torch.ops.lsh.zero_dead_.default(fast, mask)
        tensors = [t for t in tensors if not any(t is done for done in fast)]
    zero_dead_definition_(tensors, mask)


@torch.no_grad()
def zero_dead_definition_(tensors: Sequence[Tensor], mask: Tensor) -> None:
    """What `lsh::zero_dead_` computes, in plain torch."""
    for tensor in tensors:
        # not a product with the mask: that would keep NaN and turn infinity into it
        tensor.masked_fill_(~mask, 0)


_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@torch.library.impl("lsh::zero_dead_", "ADInplaceOrView")
def _(tensors: Sequence[Tensor], mask: Tensor) -> None:
    """Tells autograd of the change, so that a backward pass on the old values is refused."""
    with torch._C._AutoDispatchBelowADInplaceOrView():
        torch.ops.lsh.zero_dead_(tensors, mask)
    for tensor in tensors:
        torch.autograd.graph.increment_version(tensor)


@torch.library.impl("lsh::zero_dead", "CUDA")
def _(tensor: Tensor, mask: Tensor) -> Tensor:
    return tensor.masked_fill(~mask, 0)


if native.libraries.cuda is None:  # a torch with CUDA, but kernels built without
    torch.library.impl("lsh::zero_dead_", "CUDA", zero_dead_definition_)


@torch.library.register_fake("lsh::zero_dead")
def _(tensor: Tensor, mask: Tensor) -> Tensor:
    return torch.empty_like(tensor)


@torch.library.register_fake("lsh::zero_dead_")
def _(tensors: Sequence[Tensor], mask: Tensor) -> None:
    return None
