"""The linearised dynamics of a layer beside Jacobians by autograd through torch.nn.LSTM."""

import pytest
import torch
from lstm_pair import H, I, draw, pair, single_layer
from torch import Tensor, nn

from lsh_native.cells import LSTM
from lsh_native.nn import SparseLSTM
from lsh_native.nn.layer_tangent import LayerTangent


def layer_jacobians(
    dense: nn.LSTM, x: Tensor, hx: tuple[Tensor, Tensor] | None
) -> list[list[Tensor]]:
    """Jacobians (B, 2 H, 2 H) of each layer's (h, c) at each step, by autograd through nn.LSTM."""
    L, B = dense.num_layers, x.shape[1]
    h0, c0 = hx if hx is not None else (x.new_zeros(L, B, H), x.new_zeros(L, B, H))
    jacobians: list[list[Tensor]] = []
    for i in range(L):
        single = single_layer(dense, i)
        state, steps, outputs = torch.cat([h0[i], c0[i]], dim=1), [], []
        for now in x:

            def advance(
                state: Tensor, now: Tensor = now, single: nn.LSTM = single
            ) -> tuple[Tensor, Tensor]:
                h, c = state.split(H, dim=1)
                _, (h, c) = single(now[None], (h[None].contiguous(), c[None].contiguous()))
                return torch.cat([h[0], c[0]], dim=1)

            full = torch.autograd.functional.jacobian(advance, state)
            steps.append(torch.stack([full[b, :, b] for b in range(B)]))
            state = advance(state).detach()
            outputs.append(state[:, :H])
        jacobians.append(steps)
        x = torch.stack(outputs)
    return jacobians


@pytest.mark.parametrize("density", [0.0, 0.2, 0.4, 1.0])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
def test_tangent_maps_are_the_jacobians_of_each_layer(
    density: float, bias: bool, with_state: bool
) -> None:
    layer, dense = pair(density, num_layers=2, bias=bias)
    x = draw(5, 3, I)
    hx = (draw(2, 3, H, seed=1), draw(2, 3, H, seed=2)) if with_state else None
    expected = layer_jacobians(dense, x, hx)
    for warmup in (0, 2):
        maps = layer.tangent_maps(x, hx, warmup)
        assert len(maps) == 2
        for of_layer, jacobians in zip(maps, expected, strict=True):
            assert (of_layer.steps, of_layer.batch, of_layer.size) == (5 - warmup, 3, 2 * H)
            assert (of_layer.dtype, of_layer.device.type) == (torch.float64, "cpu")
            units = torch.eye(2 * H, dtype=torch.float64).expand(3, -1, -1)
            for time in range(of_layer.steps):
                found = of_layer.apply(time, units)
                torch.testing.assert_close(found, jacobians[time + warmup], rtol=1e-9, atol=1e-12)
                few = draw(3, 2 * H, 5)
                torch.testing.assert_close(of_layer.apply(time, few), found @ few)


def test_tangent_maps_need_no_gradient_and_ignore_dropout() -> None:
    layer, _ = pair(num_layers=2, dropout=0.9)
    x = draw(5, 3, I).requires_grad_()
    maps = layer.train().tangent_maps(x)
    again = layer.eval().tangent_maps(x)
    few = draw(3, 2 * H, 5)
    for a, b in zip(maps, again, strict=True):
        assert torch.equal(a.apply(4, few), b.apply(4, few))
        assert not a.apply(4, few).requires_grad


@pytest.mark.parametrize("batch_first", [True, False])
def test_tangent_maps_of_other_layouts(batch_first: bool) -> None:
    layer, _ = pair(batch_first=batch_first)
    x, few = draw(5, 1, I), draw(1, 2 * H, 4)
    [expected] = layer.tangent_maps(x.transpose(0, 1) if batch_first else x)
    [single] = layer.tangent_maps(x[:, 0])
    assert single.batch == 1
    assert torch.equal(single.apply(2, few), expected.apply(2, few))


@pytest.mark.parametrize("warmup", [-1, 5, 6])
def test_a_warm_up_that_leaves_no_step(warmup: int) -> None:
    layer, _ = pair()
    with pytest.raises(ValueError, match="state_warmup"):
        layer.tangent_maps(draw(5, 3, I), None, warmup)


@pytest.mark.parametrize("time", [-1, 5])
def test_a_step_outside_the_trajectory(time: int) -> None:
    layer, _ = pair()
    [maps] = layer.tangent_maps(draw(5, 3, I))
    with pytest.raises((ValueError, IndexError, RuntimeError), match="time"):
        maps.apply(time, draw(3, 2 * H, 4))


def test_vectors_that_do_not_fit() -> None:
    layer, _ = pair()
    [maps] = layer.tangent_maps(draw(5, 3, I))
    for wrong in (draw(9, 2 * H, 4), draw(3, 2 * H, 4).float(), draw(3, 2 * H + 2, 4)):
        with pytest.raises((RuntimeError, ValueError)):
            maps.apply(0, wrong)


def test_tangent_maps_keep_what_they_were_made_of() -> None:
    """Later training or another mask leaves the maps of an earlier trajectory as they were."""
    layer, _ = pair()
    [maps] = layer.tangent_maps(draw(5, 3, I))
    few = draw(3, 2 * H, 4)
    expected = maps.apply(1, few)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(2)
    layer.set_masks({name: mask.flip(0) for name, mask in layer.masks().items()})
    assert torch.equal(maps.apply(1, few), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folded_and_sparse_products_agree(dtype, tolerance) -> None:
    """Several steps at once, more units than a block of them, and threads that change nothing."""
    torch.manual_seed(0)
    layer = SparseLSTM(3, 70, density=0.5, dtype=dtype)
    (maps,) = layer.tangent_maps(torch.randn(6, 5, 3, dtype=dtype))
    sparse = LayerTangent(LSTM, maps._trajectory, maps._weights, 70)
    vectors = torch.randn(5, 140, 30, dtype=dtype)
    found = maps.along(range(1, 5), vectors)
    torch.testing.assert_close(found, sparse.along(range(1, 5), vectors), **tolerance(dtype))
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    together = maps.along(range(1, 5), vectors)
    torch.set_num_threads(threads)
    assert torch.equal(together, found)
