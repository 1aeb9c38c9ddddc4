"""MixtureOfSoftmaxes: a decoder that mixes the predictions of K experts over one vocabulary.

    P(w | h) = Σ_k π_k softmax(W e_k + b)_w        π = softmax(P h),  e_k = tanh(L_k h + a_k)

Source: Yang, Dai, Salakhutdinov & Cohen, "Breaking the softmax bottleneck", 2018.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lsh_native.nn.dropout import locked_dropout
from lsh_native.nn.linear import SparseLinear

__all__ = ["MixtureOfSoftmaxes"]


class MixtureOfSoftmaxes(nn.Module):
    """Predicts from (N, H) by K experts that share one softmax layer.

    Args:
        hidden_size: H.
        expert_size: E, the width of what an expert hands to the softmax layer.
        vocabulary_size: V.
        experts: K, at least 1.
        dropout: probability of dropping a feature of an expert, in training; the same in all
            steps of a sequence.
        dtype: float32 or float64.

    Attributes:
        prior: `SparseLinear` H → K, without bias.
        latent: `SparseLinear` H → K E.
        output: `SparseLinear` E → V.
    """

    def __init__(
        self,
        hidden_size: int,
        expert_size: int,
        vocabulary_size: int,
        experts: int,
        *,
        dropout: float = 0.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if experts < 1:
            raise ValueError(f"experts must be at least 1, got {experts}")
        self.experts = experts
        self.expert_size = expert_size
        self.dropout = dropout
        self.prior = SparseLinear(hidden_size, experts, bias=False, dtype=dtype)
        self.latent = SparseLinear(hidden_size, experts * expert_size, dtype=dtype)
        self.output = SparseLinear(expert_size, vocabulary_size, dtype=dtype)

    def masks(self) -> Mapping[str, Tensor]:
        """The mask of each weight matrix."""
        parts = {"prior": self.prior, "latent": self.latent, "output": self.output}
        return {
            f"{part}.{name}": mask for part, m in parts.items() for name, mask in m.masks().items()
        }

    def hand_over(self, hidden: Tensor) -> Tensor:
        """What the experts are asked from (T, B, H): the features of each beside `hidden`.

        The dropout of experts lasts a sequence, so it is drawn here, where T and B are known.

        Returns:
            (T, B, K E + H).
        """
        features = self.latent(hidden).tanh()
        if self.training and self.dropout > 0:
            features = locked_dropout(features, self.dropout)
        return torch.cat([features, hidden], dim=-1)

    def losses(self, asked: Tensor, target: Tensor) -> Tensor:
        """Negative log-likelihoods (N,) of ids (N,) from rows (N, K E + H) of `hand_over`."""
        experts, log_prior = self._split(asked)
        logits = self.output(experts).flatten(0, 1)
        each = target.unsqueeze(-1).expand(-1, self.experts).flatten()
        surprise = cross_entropy(logits, each, reduction="none").view(log_prior.shape)
        losses: Tensor = -(log_prior - surprise).logsumexp(-1)
        return losses

    def forward(self, asked: Tensor) -> Tensor:
        """Log-probabilities (…, V) from (…, K E + H) of `hand_over`."""
        experts, log_prior = self._split(asked.flatten(0, -2))
        mixed = (self.output(experts).log_softmax(-1) + log_prior.unsqueeze(-1)).logsumexp(-2)
        result: Tensor = mixed.view(*asked.shape[:-1], -1)
        return result

    def width(self) -> int:
        """Logits made for one position."""
        return self.experts * self.output.out_features

    def _split(self, asked: Tensor) -> tuple[Tensor, Tensor]:
        """Experts (N, K, E) and the logarithm of their weights (N, K)."""
        features, hidden = asked.tensor_split([self.experts * self.expert_size], dim=-1)
        experts = features.reshape(-1, self.experts, self.expert_size)
        return experts, self.prior(hidden).log_softmax(-1)
