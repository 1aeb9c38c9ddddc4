"""SparseLinear: `torch.nn.Linear` with a sparse weight."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lsh_native.nn.crossover import MANY, crossover
from lsh_native.nn.dtypes import kernel_dtype, result_dtype
from lsh_native.nn.operands import check_features
from lsh_native.nn.sparse_module import SparseModule
from lsh_native.sparsity.linear import sparse_linear
from lsh_native.sparsity.transforms import is_transformed

__all__ = ["SparseLinear"]


class SparseLinear(SparseModule):
    """Applies y = x Wᵀ + b, with W sparse.

    Args:
        in_features: C.
        out_features: R.
        bias: whether there is a b.
        device: as in `torch.nn.Linear`.
        dtype: a floating dtype; 16 bits and autocast are computed in float32.
        density: share of W that is connected, drawn uniformly with an exact count.

    Shape:
        (…, C) to (…, R). Parameters as in `torch.nn.Linear`: `weight` (R, C), `bias` (R,).

    Example:
        >>> layer = SparseLinear(4, 3, density=0.5)
        >>> layer(torch.ones(2, 4)).shape, layer.density()
        (torch.Size([2, 3]), 0.5)
    """

    maskable = ("weight",)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        density: float = 1.0,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        options = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(out_features, in_features, **options))
        self.bias = nn.Parameter(torch.empty(out_features, **options)) if bias else None
        self.reset_parameters()
        self._init_masks(density)

    def reset_parameters(self) -> None:
        """Draws weight and bias uniformly from ±1/√C, as `torch.nn.Linear` does."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
        for parameter in self.parameters(recurse=False):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Maps (…, C) to (…, R)."""
        if self._dense:
            return linear(input, self.weight, self.bias)
        check_features(input, "in_features", self.in_features, self.weight)
        if self._runs_dense(input.numel() // max(1, self.in_features)):
            return linear(input, self._dense_form("weight"), self.bias)
        kernel = kernel_dtype(self.weight.dtype)
        output = sparse_linear(
            input.reshape(-1, self.in_features).to(kernel),
            self.operand("weight").to(kernel),
            self._pattern("weight"),
            None if self.bias is None else self.bias.to(kernel),
            self.out_features,
            dense_gradient=self.gradient == "dense",
        ).to(result_dtype(self.weight))
        return output.view(*input.shape[:-1], self.out_features)

    def _runs_dense(self, rows: int) -> bool:
        """Whether torch's kernel runs, with zeros where masked: little is, and it is faster."""
        if is_transformed() or torch.compiler.is_compiling():
            return False
        return crossover().dense_linear_is_faster(self._density, rows)

    def live_pattern(self, name: str) -> Tensor | None:
        """See `SparseModule`; None too where torch's kernel may run."""
        return None if self._runs_dense(MANY) else super().live_pattern(name)

    def _kernel(self, name: str) -> str:
        if self._dense or not self._runs_dense(MANY):
            return super()._kernel(name)
        why = f"(density {self._density:.3g}; {crossover()})"
        sparse = super()._kernel(name)
        return f"torch's dense Linear with zeros where masked; {sparse} below {MANY} rows {why}"

    @classmethod
    def from_dense(cls, module: nn.Linear, density: float = 1.0) -> Self:
        """A copy of a dense layer that keeps the share `density` of largest magnitudes."""
        weight = module.weight
        result = cls(
            module.in_features,
            module.out_features,
            module.bias is not None,
            device=weight.device,
            dtype=weight.dtype,
        )
        result.load_state_dict(module.state_dict())
        result._keep_largest(density)
        return result.train(module.training)

    def to_dense(self) -> nn.Linear:
        """The same function as a `torch.nn.Linear`, with zeros where there is no connection."""
        result = nn.Linear(
            self.in_features,
            self.out_features,
            self.bias is not None,
            device=self.weight.device,
            dtype=self.weight.dtype,
        )
        with torch.no_grad():
            result.weight.copy_(self.masked_weight("weight"))
            if self.bias is not None:
                result.bias.copy_(self.bias)
        return result.train(self.training)

    def extra_repr(self) -> str:
        """Sizes and density."""
        return (
            f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, "
            f"density={self.density():.4g}"
        )
