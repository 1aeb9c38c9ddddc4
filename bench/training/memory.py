"""Peak memory of a training step, and of the loss alone: `python -m bench.training.memory`.

Each form runs in a process of its own, whose largest resident size is read from the system; what
the process took before it made its model is subtracted. The file is written to `--output`.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch

from bench.training.bench_step import make_trainer, models, only_window, our_step, plain_step
from lsh_native.models import Model
from lsh_native.nn import MixtureOfSoftmaxes, mean_loss
from lsh_native.sparsity.mask import draw_mask

FORMS = ("plain", "ours")
LOSS = "loss of 15 experts"
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
    for name, density in ((LOSS, 1.0), ("lstm", 0.33), ("rhn", 0.47), ("awd_lstm", 0.45)):
        found = {form: _in_process(name, density, form) for form in FORMS}
        rows.append({"case": name, "density": density, "MiB": found})
        print(f"{name} at density {density}: plain {found['plain']}, ours {found['ours']} MiB")
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


if __name__ == "__main__":
    main()
