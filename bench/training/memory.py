"""Peak memory of a training step, and of the loss alone: `python -m bench.training.memory`.

Each form runs in a process of its own, whose largest resident size is read from the system; what
the process took before it made its model is subtracted. A layer alone stands beside `nn.LSTM` and
beside masks by `parametrize`. The file is written to `--output`.
"""

import argparse
import json
import resource
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize

from bench.cells.bench_lstm import Masked
from bench.training.bench_step import make_trainer, models, only_window, our_step, plain_step
from lsh_native.models import Model
from lsh_native.nn import LiveWeights, MixtureOfSoftmaxes, SparseLSTM, mean_loss
from lsh_native.sparsity.mask import draw_mask

LOSS = "loss of 15 experts"
LAYER = "layer of 1500"
CASES = (
    (LOSS, 1.0),
    ("lstm", 0.33),
    ("rhn", 0.47),
    ("awd_lstm", 0.45),
    (LAYER, 0.33),
    (LAYER, 0.1),
)
FORMS = {LAYER: ("plain", "parametrize", "ours")}
STEPS = 2  # the first also makes what stays


def main() -> None:
    """Measures everything, or one form of one case and prints its MiB."""
    parser = argparse.ArgumentParser(prog="python -m bench.training.memory")
    parser.add_argument("--output", type=Path, default=Path("memory.json"))
    parser.add_argument("--case", nargs=3, metavar=("NAME", "DENSITY", "FORM"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.case:
        name, density, form = options.case
        print(peak(name, float(density), form))
        return
    rows = []
    for name, density in CASES:
        forms = FORMS.get(name, ("plain", "ours"))
        found = {form: _in_process(name, density, form) for form in forms}
        rows.append({"case": name, "density": density, "MiB": found})
        sizes = ", ".join(f"{form} {size}" for form, size in found.items())
        print(f"{name} at density {density}: {sizes} MiB")
    text = json.dumps({"torch": torch.__version__, "cases": rows}, indent=1)
    options.output.write_text(text + "\n", encoding="utf-8")


def _in_process(name: str, density: float, form: str) -> int:
    command = [sys.executable, "-m", "bench.training.memory", "--case", name, str(density), form]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak(name: str, density: float, form: str) -> int:
    """MiB that one form of a case takes at its highest, beyond what the process took before."""
    torch.manual_seed(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if name == LOSS:
        _loss(form)
    elif name == LAYER:
        _layer(density, form)
    else:
        [(record, *sizes)] = [each for each in models(False) if each[0].family == name]
        _steps(record, *sizes, density=density, form=form)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024


def _steps(
    record: Model, vocabulary: int, batch: int, window: int, *, density: float, form: str
) -> None:
    if form == "ours":
        step = our_step(make_trainer(record, vocabulary, batch, window, density))
    else:
        model = record.build(vocabulary, torch.float32)
        weights = {name: p.detach() for name, p in model.named_parameters()}
        generator = torch.Generator().manual_seed(0)
        masks = {
            name: draw_mask(round(density * weights[name].numel()), weights[name].shape, generator)
            for name in model.masks()
        }
        small = make_trainer(type(record)(**SMALL[record.family]), vocabulary, batch, window, None)
        step = plain_step(record, weights, masks, only_window(small))
    for _ in range(STEPS):
        step()


SMALL = {
    "lstm": {"embedding_size": 1, "hidden_size": 1},
    "rhn": {"embedding_size": 1, "hidden_size": 1, "depth": 1},
    "awd_lstm": {"embedding_size": 1, "hidden_sizes": (1,), "experts": 0},
}


def _loss(form: str) -> None:
    """WikiText-2, 5 columns of 70 steps."""
    decoder = MixtureOfSoftmaxes(650, 300, 33_278, 15)
    hidden = decoder.hand_over(torch.randn(1, 350, 650))[0].detach().requires_grad_()
    target = torch.randint(33_278, (350,))
    loss = mean_loss(decoder, hidden, target, **({"limit": 10**12} if form == "plain" else {}))
    torch.autograd.backward(loss)


def _layer(density: float, form: str) -> None:
    """An LSTM layer of 1500 units, 35 steps of 20 sequences, and plain gradient descent."""
    x = torch.randn(35, 20, 1500)
    ours = form == "ours"
    module = SparseLSTM(1500, 1500, density=density) if ours else nn.LSTM(1500, 1500)
    live = LiveWeights() if ours else None
    parameters = live.parameters(module) if live else list(module.parameters())
    for name in ("weight_ih_l0", "weight_hh_l0") if form == "parametrize" else ():
        shape = getattr(module, name).shape
        mask = draw_mask(round(density * shape.numel()), shape, torch.Generator().manual_seed(0))
        parametrize.register_parametrization(module, name, Masked(mask))
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with live or nullcontext():
            module(x)[0].sum().backward()
        optimizer.step()
        if live is not None:
            live.write_()


if __name__ == "__main__":
    main()
