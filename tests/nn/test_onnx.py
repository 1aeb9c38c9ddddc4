"""Out to ONNX through the dense form, and back in ONNX Runtime with the same outputs."""

import io
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsh_native.nn import SparseGRU, SparseLSTM, SparseRHN, SparseRNN

pytest.importorskip("onnxscript", reason="needs the extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

# Both of torch's exporters warn of things that are theirs to change.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

T, B, I, H = 4, 2, 5, 6  # noqa: E741
STACKS: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: SparseLSTM(I, H, 2, density=0.3, bidirectional=True),
    "GRU": lambda: SparseGRU(I, H, 2, density=0.3, bias=False),
    "RNN": lambda: SparseRNN(I, H, 2, density=0.3, batch_first=True),
    "RHN": lambda: SparseRHN(I, H, 2, density=0.3),
}


class Output(nn.Module):
    """A stack's output alone."""

    def __init__(self, stack: nn.Module) -> None:
        super().__init__()
        self.stack = stack
        self.train(stack.training)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.stack(x)[0]
        return output


def run(model: bytes, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_any_number_of_steps_and_sequences(name: str) -> None:
    """By the exporter that knows ONNX's own recurrent operators."""
    torch.manual_seed(0)
    stack, file = STACKS[name]().eval(), io.BytesIO()
    torch.onnx.export(
        Output(stack.to_dense()),
        (torch.randn(T, T, I),),
        file,
        dynamo=False,
        input_names=["x"],
        dynamic_axes={"x": [0, 1]},
    )
    for shape in ((T, B, I), (7, 3, I)):
        x = torch.randn(shape)
        torch.testing.assert_close(run(file.getvalue(), x), stack(x)[0].detach())


@pytest.mark.parametrize("name", ["LSTM", "RHN"])
def test_steps_written_out(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """By the exporter of whole graphs, which fixes the sizes."""
    caplog.set_level(logging.ERROR)
    torch.manual_seed(0)
    stack, x = STACKS[name]().eval(), torch.randn(T, B, I)
    program = torch.onnx.export(Output(stack.to_dense()), (x,), dynamo=True, verbose=False)
    found = run(program.model_proto.SerializeToString(), x)
    torch.testing.assert_close(found, stack(x)[0].detach())
