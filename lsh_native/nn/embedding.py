"""SparseEmbedding: `torch.nn.Embedding` with a masked table."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from lsh_native.nn.sparse_module import SparseModule, zero_forward
from lsh_native.sparsity.rows import sparse_rows

__all__ = ["SparseEmbedding"]


class SparseEmbedding(SparseModule):
    """Looks up rows of a masked table.

    A look-up reads a row as it is, so a mask saves no time here; it makes the table part of a
    sparse model.

    Args:
        num_embeddings: V, rows of the table.
        embedding_dim: E, its columns.
        device: as in `torch.nn.Embedding`.
        dtype: as in `torch.nn.Embedding`.
        density: share of the table that is connected, drawn uniformly with an exact count.

    Shape:
        Integers (…) to (…, E). The parameter is `weight` (V, E).
    """

    maskable = ("weight",)

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        density: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = nn.Parameter(
            torch.empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
        )
        nn.init.normal_(self.weight)
        self._init_masks(density)

    def forward(self, input: Tensor) -> Tensor:
        """Looks up integers (…), giving (…, E)."""
        values = self.operand("weight")
        if values.dim() == 1:
            shape = self.num_embeddings, self.embedding_dim
            ids = input.reshape(-1).long().contiguous()
            flat = sparse_rows(ids, values, self._pattern("weight"), shape)
            return flat.view(*input.shape, -1)
        rows = embedding(input, self.weight)
        if self._dense:
            return rows
        absent = ~embedding(input, self._full_mask("weight"))
        if self.gradient == "dense":
            return zero_forward(rows, absent)
        return rows.masked_fill(absent, 0)

    @classmethod
    def from_dense(cls, module: nn.Embedding, density: float = 1.0) -> Self:
        """A copy of a dense table that keeps the share `density` of largest magnitudes.

        Raises:
            ValueError: the table has an option that this layer has not.
        """
        for option in ("padding_idx", "max_norm", "scale_grad_by_freq", "sparse"):
            if getattr(module, option) not in (None, False):
                raise ValueError(
                    f"the dense table must have no {option}, got {getattr(module, option)}"
                )
        weight = module.weight
        rows, columns = weight.shape
        result = cls(rows, columns, weight.device, weight.dtype)
        result.load_state_dict(module.state_dict())
        result._keep_largest(density)
        return result.train(module.training)

    def to_dense(self) -> nn.Embedding:
        """The same function as a `torch.nn.Embedding`, with zeros where there is no connection."""
        weight = self.masked_weight("weight").detach().clone()
        result = nn.Embedding(self.num_embeddings, self.embedding_dim, _weight=weight)
        return result.train(self.training)

    def _kernel(self, name: str) -> str:
        return f"torch's look-up{', zero where masked' if self._masked else ''}"

    def extra_repr(self) -> str:
        """Sizes and density."""
        return f"{self.num_embeddings}, {self.embedding_dim}, density={self.density():.4g}"
