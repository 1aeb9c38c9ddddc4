"""Forward-mode differentiation must not pass a native operator in silence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["refuse_forward_mode"]


def refuse_forward_mode(*tensors: Tensor | None) -> None:
    """Raises if any tensor carries a forward-mode tangent.

    torch has no forward-mode rule for custom operators: it would hand on a tangent of zero.

    Raises:
        NotImplementedError: a tensor is a dual tensor of `torch.func.jvp` or
            `torch.autograd.forward_ad`.
    """
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return
    for tensor in tensors:
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(
                "native operators have no forward-mode derivative (it would be silently zero): "
                "use lsh_native.cells.tangent, the exact Jacobian-vector product"
            )
