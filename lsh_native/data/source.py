"""A random source of tokens whose entropy rate is exact, because its state can be followed.

In state s it emits token w with probability P(w | s) and moves to the state n(s, w). The next state
is a function of state and token (the source is *unifilar*), so whoever reads the text from the
start knows the state, and the entropy rate is a plain mean of entropies:

    π = π T,  T(s, s') = Σ_w P(w | s) [n(s, w) = s']        h = − Σ_s π(s) Σ_w P(w | s) log P(w | s)

Source: C. E. Shannon, "A Mathematical Theory of Communication", 1948, section 7.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lsh_native.data.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, eq=False)
class WordSource:
    """A unifilar source; a text starts in state 0.

    Args:
        vocabulary: the tokens, of V types.
        probability: float64 (S, V), P(w | s); every row sums to one.
        successor: int64 (S, V), n(s, w), in [0, S).

    Raises:
        ValueError: if a shape is wrong, a row is no distribution, a successor is outside [0, S), or
            the chain has more than one stationary distribution.
    """

    vocabulary: Vocabulary
    probability: npt.NDArray[np.float64]
    successor: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        P, n = self.probability, self.successor
        if P.ndim != 2 or P.shape != n.shape or P.shape[1] != len(self.vocabulary):
            raise ValueError(
                "probability and successor must have the shape (S, V) with "
                f"V = {len(self.vocabulary)}, got {P.shape} and {n.shape}"
            )
        # written so that NaN fails it too
        if not (P.min() >= 0 and np.abs(P.sum(axis=1) - 1).max() < 1e-12):
            raise ValueError(
                "every row of probability must be non-negative and sum to 1, "
                f"got a least value {P.min()} and sums {P.sum(axis=1)}"
            )
        if n.min() < 0 or n.max() >= len(P):
            raise ValueError(f"successor must be in [0, {len(P)}), got {n.min()} to {n.max()}")

    @cached_property
    def stationary(self) -> npt.NDArray[np.float64]:
        """π, the share of time spent in each state: float64 (S,)."""
        S = len(self.probability)
        T = np.zeros((S, S))
        np.add.at(T, (np.arange(S)[:, None], self.successor), self.probability)
        balance = np.vstack([T.T - np.eye(S), np.ones(S)])
        pi, _, rank, _ = np.linalg.lstsq(balance, np.eye(S + 1)[S], rcond=None)
        if rank < S:
            raise ValueError("the states must form one recurrent class, got several")
        return np.asarray(pi, dtype=np.float64)

    @cached_property
    def entropy_rate(self) -> float:
        """Entropy h in nats per token: no predictor has a smaller mean loss in the long run."""
        P = self.probability
        surprise = -np.log(P, where=P > 0, out=np.zeros_like(P))
        return float(self.stationary @ (P * surprise).sum(axis=1))

    def sample(self, length: int, generator: np.random.Generator) -> Tensor:
        """Draw a text.

        One uniform number decides each token, so a shorter text is the beginning of a longer one.

        Args:
            length: number of tokens T.
            generator: where the uniform numbers come from.

        Returns:
            int64 tensor (T,).
        """
        cumulative = np.cumsum(self.probability, axis=1).tolist()
        successor = self.successor.tolist()
        state, tokens = 0, []
        for uniform in generator.random(length).tolist():
            row = cumulative[state]
            token = bisect_right(row, uniform * row[-1])
            tokens.append(token)
            state = successor[state][token]
        return torch.tensor(tokens, dtype=torch.int64)

    def log_probabilities(self, tokens: Tensor) -> Tensor:
        """Return log P(token | all tokens before it), the best prediction there is.

        Args:
            tokens: int64 (T,), a text from its start.

        Returns:
            float64 tensor (T,); its negated mean tends to `entropy_rate`.

        Raises:
            ValueError: if the source never writes such a text.
        """
        numbers = tokens.tolist()
        self.vocabulary.decode(numbers)
        successor = self.successor.tolist()
        states = [0]
        for token in numbers:
            states.append(successor[states[-1]][token])
        probability = self.probability[states[:-1], numbers]
        if not probability.all():
            position = int(np.flatnonzero(probability == 0)[0])
            (token,) = self.vocabulary.decode(numbers[position : position + 1])
            raise ValueError(
                f"tokens must be a text of this source, got {token!r} at position {position}, "
                "which cannot stand there"
            )
        return torch.from_numpy(np.log(probability))
