"""The dynamics of one recurrent layer along a trajectory, applied without forming a Jacobian."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from lsh_native.cells import (
    Cell,
    LayerWeights,
    Trajectory,
    can_fold,
    can_panel,
    folded_tangent,
    pack_panels,
    paneled_tangent,
    tangent,
)

__all__ = ["FOLD_FROM", "LayerTangent"]

FOLD_FROM = 0.35
"""The density of recurrent weights from which folding them beats the sparse product."""

_PANELS_FROM = 16  # tangent vectors: with fewer, packing costs more than a few products save


class LayerTangent:
    """The maps d state_t → d state_{t+1} of one layer, its inputs held fixed.

    The state of a unit is all that the cell carries, for an LSTM h and c, so n = S * H, state by
    state; where the cell projects, h has O numbers and n = O + (S - 1) * H.

    Args:
        cell: the cell of the layer.
        trajectory: of the T steps to cover.
        weights: those the trajectory was made with; packed recurrent weights spare every product a
            gather.
        hidden: H.
        dense: D recurrent weights (G * H, H) to fold if the pattern is so full that this is the
            faster way, or None.

    Attributes:
        steps: T.
        batch: B.
        size: n.
        dtype: of the tangent vectors.
        device: of the tangent vectors.
    """

    def __init__(
        self,
        cell: Cell,
        trajectory: Trajectory,
        weights: LayerWeights,
        hidden: int,
        dense: list[Tensor] | None = None,
    ) -> None:
        self._cell, self._trajectory, self._weights = cell, trajectory, weights
        self._hidden, self._depth = hidden, cell.depth(len(weights.weight_hh))
        self._outputs: int = weights.weight_hh[1].shape[0] if cell.projects else hidden
        self._dense = dense if can_fold(cell, trajectory) else None
        self._panels: dict[int, list[Tensor]] = {}
        self.steps: int = trajectory.activations.shape[0] // self._depth
        self.batch: int = trajectory.batch
        self.size: int = self._outputs + (len(cell.states) - 1) * hidden
        self.dtype: torch.dtype = trajectory.states.dtype
        self.device: torch.device = trajectory.states.device

    def apply(self, time: int, vectors: Tensor) -> Tensor:
        """The product J_time · vectors, (B, n, K) to (B, n, K)."""
        return self.along(range(time, time + 1), vectors)

    def along(self, times: range, vectors: Tensor) -> Tensor:
        """The product J_last ⋯ J_first · vectors over consecutive steps, (B, n, K) to (B, n, K)."""
        if not 0 <= times.start < times.stop <= self.steps or times.step != 1:
            raise IndexError(f"times must be steps in [0, {self.steps}), got {times}")
        K, split = vectors.shape[2], self._split(vectors)
        window = self._trajectory.window(times.start, times.stop, self._depth)
        if self._dense is not None:
            final = folded_tangent(self._cell, split, window, self._dense)
        elif K >= _PANELS_FROM and can_panel(self._cell, window):
            final = paneled_tangent(self._cell, split, window, self._packed_for(K))
        else:
            _, final = tangent(self._cell, split, window, self._weights)
        return self._joined(final)

    def _split(self, vectors: Tensor) -> Tensor:
        """From (B, n, K) to (B, S, H, K): outputs that are fewer than the units end in zeros."""
        if (absent := self._hidden - self._outputs) > 0:
            outputs, others = vectors.tensor_split([self._outputs], 1)
            vectors = torch.cat([pad(outputs, (0, 0, 0, absent)), others], 1)
        B, _, K = vectors.shape
        return vectors.reshape(B, len(self._cell.states), self._hidden, K)

    def _joined(self, split: Tensor) -> Tensor:
        """From (B, S, H, K) to (B, n, K)."""
        if self._outputs == self._hidden:
            return split.flatten(1, 2)
        return torch.cat([split[:, 0, : self._outputs], split[:, 1:].flatten(1, 2)], 1)

    def _packed_for(self, vectors: int) -> list[Tensor]:
        if vectors not in self._panels:
            packed = pack_panels(self._cell, self._weights, self._hidden, vectors)
            self._panels = {vectors: packed}  # another number of vectors is another flow
        return self._panels[vectors]

    def driven(
        self, time: int, vectors: Tensor, input_vectors: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Moves tangents of the state (B, n, K) and of the input (B, I, K), or of it alone.

        Returns:
            Tangents of the output, (B, O, K), and of the next state, (B, n, K).
        """
        if input_vectors is None:
            moved = self.apply(time, vectors)
            return moved[:, : self._outputs], moved
        window = self._trajectory.window(time, time + 1, self._depth)
        outputs, final = tangent(
            self._cell,
            self._split(vectors),
            window,
            self._weights,
            input_tangent=input_vectors.unsqueeze(0),
            outputs=True,
        )
        return outputs[0], self._joined(final)
