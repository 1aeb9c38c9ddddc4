"""Compares every operator with its definition at the SIMD level of LSH_SIMD, and prints the level.

A level is chosen once per process, so the tests run this file in a process of its own.
"""

import torch
from random_layer import RandomLayer, assert_near

from lsh_native.cells import LSTM, run, tangent
from lsh_native.native import libraries
from lsh_native.sparsity.linear import sparse_linear

TOLERANCE = {
    torch.float32: {"rtol": 2e-5, "atol": 2e-6},
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
}


def check(layer: RandomLayer) -> None:
    within = TOLERANCE[layer.dtype]
    weights = layer.weights(gradient=True)
    input = layer["input"].clone().requires_grad_()
    done = run(LSTM, input, layer["state"], weights, **layer.bends)
    found = torch.autograd.grad(
        (done.output, done.final_state),
        (input, weights.weight_hh[0]),
        (layer["grad_output"], layer["grad_final"]),
    )
    leaves = {
        name: value.requires_grad_()
        for name, value in layer.definition_arguments().items()
        if name in ("input", "state", "weight_hh")
    }
    expected = layer.definition(**leaves)
    grads = torch.autograd.grad(
        expected,
        (leaves["input"], leaves["weight_hh"]),
        (layer["grad_output"].double(), layer["grad_final"].double()),
        retain_graph=True,
    )
    assert_near(done.output.detach(), expected[0].detach(), within, "output")
    assert_near(found[0], grads[0], within, "gradient of the input")
    assert_near(found[1], layer.as_stored(grads[1], "hh"), within, "gradient of weight_hh")

    vectors = torch.linspace(-1, 1, layer.B * 2 * layer.H * 5, dtype=layer.dtype)
    vectors = vectors.view(layer.B, 2, layer.H, 5)
    _, final = tangent(LSTM, vectors, layer.run().trajectory, layer.weights())
    [pulled] = torch.autograd.grad(expected[1], leaves["state"], layer["grad_final"].double())
    there = torch.einsum("sbh,bshk->bk", layer["grad_final"].double(), final.double())
    back = torch.einsum("sbh,bshk->bk", pulled, vectors.double())
    assert_near(there, back, within, "tangent against the transpose of the definition's")

    flat = layer["input"].flatten(0, 1)
    product = sparse_linear(
        flat, layer.weight("ih"), layer.pattern("ih"), layer["bias_ih"], 4 * layer.H
    )
    plain = flat.double() @ (layer["weight_ih"] * layer["mask_ih"]).double().mT + layer["bias_ih"]
    assert_near(product, plain, within, "sparse_linear")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for dtype in TOLERANCE:
        for T, B, H in ((1, 1, 1), (5, 3, 6), (3, 67, 9), (33, 2, 17)):
            for bent in ((), ("batch_sizes", "hold", "state_scale")):
                check(RandomLayer(T=T, B=B, I=7, H=H, dtype=dtype, bent=bent))
    print(libraries.simd_level)
