"""RecurrentDynamics: the linearised dynamics of a recurrent stack, exact and forwards in time."""

from __future__ import annotations

import torch
from torch import Tensor

from lsh_native.cells import LayerWeights, Run, tangent
from lsh_native.nn.dtypes import MisfitError, kernel_dtype
from lsh_native.nn.layer_tangent import FOLD_FROM, LayerTangent
from lsh_native.nn.operands import State
from lsh_native.nn.recurrent import SparseRecurrent

__all__ = ["RecurrentDynamics"]


class RecurrentDynamics(SparseRecurrent):
    """A stack whose derivative along a trajectory can be asked for.

    torch has no forward-mode rule for native operators, so tangents are methods of their own.
    """

    def _without_dropout(self, layer: int, x: Tensor, state: list[Tensor]) -> Run:
        """One layer forwards in time as evaluation has it."""
        [names] = self._layers[layer]
        initial = self._joined(state, layer)
        return self._run_layer(names, x, initial, None, training=False)

    def _check_dynamics(self) -> None:
        """Raises a ValueError where a state does not run forwards in time through our kernels."""
        if self.bidirectional:
            raise ValueError(
                "a state must run forwards in time: bidirectional must be False, got True"
            )

    @torch.no_grad()
    def tangent_maps(
        self, inputs: Tensor, state: State | None = None, state_warmup: int = 0
    ) -> list[LayerTangent]:
        """The linearised dynamics of each layer, from the bottom up, without dropout.

        Args:
            inputs: as for a call.
            state: initial state; zeros by default.
            state_warmup: first steps that move the state only.

        Returns:
            One `LayerTangent` a layer, each of T - state_warmup steps.
        """
        self._check_dynamics()
        x = self._time_major(inputs)
        if not 0 <= state_warmup < x.shape[0]:
            raise ValueError(
                f"state_warmup must be in [0, {x.shape[0] - 1}] for {x.shape[0]} time steps, "
                f"got {state_warmup}"
            )
        initial = self._initial_state(x, state, inputs.dim() == 2)
        x, *initial = (t.to(kernel_dtype(t.dtype)) for t in (x, *initial))
        maps = []
        for layer, [names] in enumerate(self._layers):
            done = self._without_dropout(layer, x, initial)
            x = done.output
            depth = self.cell.depth(len(names.weight_hh))
            packed = LayerWeights(
                weight_ih=self._weight(names.weight_ih).to(x.dtype, copy=True),
                weight_hh=(
                    *(
                        self._weight(name)[self._full_mask(name)].to(x.dtype)
                        for name in names.weight_hh[:depth]
                    ),
                    *(self._weight(n).to(x.dtype, copy=True) for n in names.weight_hh[depth:]),
                ),
                # weights and masks may change later
                pattern_ih=self._pattern(names.weight_ih).clone(),
                pattern_hh=tuple(self._pattern(name).clone() for name in names.weight_hh),
            )
            window = done.trajectory.window(state_warmup, x.shape[0], depth)
            shares = [self._full_mask(name).double().mean().item() for name in names.weight_hh]
            full = min(shares) >= FOLD_FROM
            dense = None
            if full:
                dense = [self.masked_weight(n).to(x.dtype, copy=True) for n in names.weight_hh]
            maps.append(LayerTangent(self.cell, window, packed, self.hidden_size, dense))
        return maps

    @torch.no_grad()
    def tangent(
        self,
        input: Tensor,
        hx: State | None = None,
        *,
        input_tangent: Tensor | None = None,
        state_tangent: State | None = None,
    ) -> tuple[tuple[Tensor, State], tuple[Tensor, State]]:
        """The exact Jacobian-vector product of a call, without dropout.

        What `torch.func.jvp` would give: torch has no forward-mode rule for native operators and
        would pass a tangent of zero, so it is refused, and this is the way.

        Args:
            input: as for a call.
            hx: as for a call.
            input_tangent: of the input's shape; zero by default.
            state_tangent: of the state's shape; zero by default.

        Returns:
            Output and final state, and their tangents, shaped as a call's.
        """
        self._check_dynamics()
        single = input.dim() == 2
        x = self._time_major(input)
        zeros = x.new_zeros(())
        d_x = (
            self._time_major(input_tangent) if input_tangent is not None else zeros.expand(x.shape)
        )
        if d_x.shape != x.shape:
            raise MisfitError(
                f"input_tangent must have the shape of input, {tuple(input.shape)}, "
                f"got {tuple(d_x.shape)}"
            )
        state = self._initial_state(x, hx, single)
        d_state = self._initial_state(x, state_tangent, single)
        kernel = kernel_dtype(x.dtype)
        x, d_x = x.to(kernel), d_x.to(kernel)
        state, d_state = [s.to(kernel) for s in state], [s.to(kernel) for s in d_state]
        finals, d_finals = [], []
        for layer, [names] in enumerate(self._layers):
            done = self._without_dropout(layer, x, state)
            moved, d_final = tangent(
                self.cell,
                self._joined(d_state, layer).transpose(0, 1).unsqueeze(-1),
                done.trajectory,
                self._layer_weights(names, training=False),
                input_tangent=d_x.unsqueeze(-1),
                outputs=True,
            )
            x, d_x = done.output, moved.squeeze(-1)
            finals.append(done.final_state)
            d_finals.append(d_final.squeeze(-1).transpose(0, 1))
        results = []
        for sequence, last in ((x, finals), (d_x, d_finals)):
            sequence, *ends = (t.to(input.dtype) for t in (sequence, *self._by_state(last)))
            if single:
                results.append((sequence.squeeze(1), self._grouped([s.squeeze(1) for s in ends])))
            else:
                whole = sequence.transpose(0, 1) if self.batch_first else sequence
                results.append((whole, self._grouped(ends)))
        return results[0], results[1]

    def layer_inputs(self, inputs: Tensor) -> Tensor:
        """What the first layer is fed for `inputs`, (T, B, I)."""
        return self._time_major(inputs)
