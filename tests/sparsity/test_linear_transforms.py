"""torch's transforms of the sparse linear map."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap

from lsh_native.sparsity.linear import sparse_linear
from lsh_native.sparsity.pattern import pack_pattern

Map = Callable[[Tensor, Tensor, Tensor], Tensor]
N, C, R = 5, 4, 6


def draw(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


MASK = torch.rand(R, C, generator=torch.Generator().manual_seed(0)) < 0.5
PATTERN = pack_pattern(MASK)


def call(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return sparse_linear(x, weight, PATTERN, bias, R)


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ (weight * MASK).mT + bias


def test_vmap_over_inputs_weights_and_both() -> None:
    x, weight, bias = draw(3, N, C), draw(3, R, C), draw(R)
    for dims in ((0, None, None), (None, 0, None), (0, 0, None)):
        given = [
            t if d is not None or t is bias else t[0]
            for t, d in zip((x, weight, bias), dims, strict=True)
        ]
        found, expected = (vmap(f, in_dims=dims)(*given) for f in (call, plain))
        torch.testing.assert_close(found, expected)


def test_gradients_of_torch_func_to_second_order() -> None:
    x, weight, bias = draw(N, C), draw(R, C), draw(R)

    def penalty(f: Map) -> Callable[[Tensor], Tensor]:
        def inner(x: Tensor, w: Tensor) -> Tensor:
            return f(x, w, bias).cos().sum()

        return lambda w: grad(inner)(x, w).square().sum()

    found, expected = (grad(penalty(f))(weight) for f in (call, plain))
    torch.testing.assert_close(found, expected)


def test_gradients_of_each_sample() -> None:
    x, weight, bias = draw(N, C), draw(R, C), draw(R)

    def each(f: Map) -> Tensor:
        def loss(w: Tensor, x: Tensor) -> Tensor:
            return f(x.unsqueeze(0), w, bias).cos().sum()

        return vmap(grad(loss), in_dims=(None, 0))(weight, x)

    torch.testing.assert_close(each(call), each(plain))
