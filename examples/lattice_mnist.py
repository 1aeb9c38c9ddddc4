"""Does the lattice choose better than magnitude? An LSTM reads digits row by row and is pruned.

python examples/lattice_mnist.py --data FOLDER_WITH_MNIST --output docs/results/lattice-mnist

The recurrent matrix alone is pruned, once, after training: by lattice scores from one cut of the
weights (binary) or from all (continuous), by magnitude, by both together, at random, and by chance
among masks that give every unit as many connections as magnitude does. Since a lattice score ranks
units of equal irreducibility by their centrality, masks by the centrality alone stand beside. Then
all weights are trained on under the mask. Without --data it runs on scikit-learn's digits.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import auto_cli
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lsh_native.data import Images, digits, read_images
from lsh_native.nn import SparseLSTM
from lsh_native.pruning.lattice import Irreducible, LatticeScore
from lsh_native.report.plots import PALETTE
from lsh_native.sparsity.connections import Connections
from lsh_native.sparsity.mask import draw_mask, largest_mask
from lsh_native.sparsity.selection import highest

RECURRENT = "weight_hh_l0"
GATES = ("i", "f", "g", "o")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configuration, stored with the results.

    Args:
        hidden_size: H of the one LSTM layer.
        epochs: of training before pruning.
        tune_epochs: of training under the mask; may be a part of one.
        batch_size: B.
        learning_rate: the highest of a cycle that rises and falls, with Adam.
        tune_learning_rate: likewise under the mask.
        sparsities: shares of the recurrent matrix that are removed.
        seeds: of parameters, order of images and random masks.
    """

    hidden_size: int = 128
    epochs: int = 4
    tune_epochs: float = 0.3
    batch_size: int = 128
    learning_rate: float = 4e-3
    tune_learning_rate: float = 1e-3
    sparsities: tuple[float, ...] = (0.5, 0.75, 0.9, 0.95, 0.98, 0.995)
    seeds: tuple[int, ...] = (0, 1, 2)


class RowClassifier(nn.Module):
    """Reads an image one row a step; the last hidden state tells the class."""

    def __init__(self, columns: int, hidden_size: int, classes: int) -> None:
        super().__init__()
        self.lstm = SparseLSTM(columns, hidden_size)
        self.decoder = nn.Linear(hidden_size, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, rows, columns) to logits (B, classes)."""
        output, _ = self.lstm(images.transpose(0, 1))
        logits: Tensor = self.decoder(output[-1])
        return logits


# ------------------------------------------------------------------------------------------- masks

MaskOf = Callable[[RowClassifier, int, torch.Generator], Tensor]


def by_lattice(score: Callable[[float], LatticeScore]) -> MaskOf:
    """The connections that score highest; `score` is made for a density."""

    def mask(model: RowClassifier, count: int, generator: torch.Generator) -> Tensor:
        weights = {name: w.detach() for name, w in model.lstm.named_parameters() if w.ndim == 2}
        live = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        of_density = score(count / weights[RECURRENT].numel())
        scores = of_density(Connections(weights=weights, masks=live), live, generator)
        return highest(scores[RECURRENT], count)

    return mask


def by_magnitude(model: RowClassifier, count: int, generator: torch.Generator) -> Tensor:
    """The connections of largest magnitude."""
    return largest_mask(model.lstm.get_parameter(RECURRENT), count)


def at_random(model: RowClassifier, count: int, generator: torch.Generator) -> Tensor:
    """Any connections, all choices being equally likely."""
    return draw_mask(count, model.lstm.get_parameter(RECURRENT).shape, generator)


def with_degrees_of_magnitude(
    model: RowClassifier, count: int, generator: torch.Generator
) -> Tensor:
    """Any connections that leave every row and, within each gate, every column its number.

    Two rows of a gate trade those connections that only one of them has, many times over.

    Source: G. Strona et al., "A fast and unbiased procedure to randomize ecological binary
    matrices with fixed row and column totals", Nature Communications 5, 4114, 2014.
    """
    mask = by_magnitude(model, count, generator).numpy().copy()
    random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    for gate in np.split(mask, len(GATES)):
        for _ in range(10 * len(gate)):
            one, other = random.choice(len(gate), 2, replace=False)
            apart = np.flatnonzero(gate[one] ^ gate[other])
            mine = random.permutation(len(apart)) < int(gate[one, apart].sum())
            gate[one, apart], gate[other, apart] = mine, ~mine
    return torch.from_numpy(mask)


def unknown(strengths: np.ndarray) -> np.ndarray:
    """In the place of irreducibility: no unit before another, so that the centrality decides."""
    return np.zeros(strengths.shape[1])


MASKS: dict[str, MaskOf] = {
    "magnitude": by_magnitude,
    "lattice times magnitude": by_lattice(lambda density: LatticeScore(power=1.0)),
    "centrality times magnitude": by_lattice(
        lambda density: LatticeScore(irreducibility=unknown, power=1.0)
    ),
    "lattice, continuous": by_lattice(lambda density: LatticeScore()),
    "lattice, binary": by_lattice(
        lambda density: LatticeScore(irreducibility=Irreducible(density=density))
    ),
    "centrality": by_lattice(lambda density: LatticeScore(irreducibility=unknown)),
    "random, degrees of magnitude": with_degrees_of_magnitude,
    "random": at_random,
}

# ---------------------------------------------------------------------------------------- training


def train(
    model: RowClassifier,
    images: Images,
    settings: Settings,
    *,
    epochs: float,
    rate: float,
    seed: int,
) -> None:
    """Train with Adam over one cycle of the learning rate."""
    generator = torch.Generator().manual_seed(seed)
    batches = max(1, round(epochs * len(images.train) / settings.batch_size))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=batches + 1)
    for chosen in _batches(len(images.train), settings.batch_size, batches, generator):
        loss = cross_entropy(model(images.train[chosen]), images.train_labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def _batches(size: int, batch: int, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(count):
        if len(order) < min(batch, size):
            order = torch.randperm(size, generator=generator)
        chosen, order = order[:batch], order[batch:]
        yield chosen


@torch.no_grad()
def accuracy(model: RowClassifier, images: Images) -> float:
    """Share of test images whose class is told."""
    right = [
        int((model(x).argmax(1) == y).sum())
        for x, y in zip(images.test.split(2000), images.test_labels.split(2000), strict=True)
    ]
    return sum(right) / len(images.test)


# ------------------------------------------------------------------------------------------- study


def study(images: Images, settings: Settings, seed: int) -> Iterator[dict[str, Any]]:
    """Train one network, prune copies of it, and yield a record of each."""
    torch.manual_seed(seed)
    columns = images.train.shape[2]
    model = RowClassifier(columns, settings.hidden_size, images.classes)
    train(model, images, settings, epochs=settings.epochs, rate=settings.learning_rate, seed=seed)
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    size = model.lstm.get_parameter(RECURRENT).numel()
    full = torch.ones(4 * settings.hidden_size, settings.hidden_size, dtype=torch.bool)
    cases = [("dense", 0.0, full), ("no recurrence", 1.0, ~full)]
    for sparsity in settings.sparsities:
        count = round((1 - sparsity) * size)
        generator = torch.Generator().manual_seed(seed)
        cases += [(name, sparsity, of(model, count, generator)) for name, of in MASKS.items()]
    magnitude = {sparsity: mask for name, sparsity, mask in cases if name == "magnitude"}
    for name, sparsity, mask in cases:
        model = RowClassifier(columns, settings.hidden_size, images.classes)
        model.load_state_dict(trained)
        model.lstm.set_masks({RECURRENT: mask})
        before = accuracy(model, images)
        train(
            model,
            images,
            settings,
            epochs=settings.tune_epochs,
            rate=settings.tune_learning_rate,
            seed=seed,
        )
        by_gate = mask.reshape(len(GATES), -1).float().mean(1).tolist()
        beside = magnitude.get(sparsity, mask)
        yield {
            "seed": seed,
            "mask": name,
            "sparsity": sparsity,
            "kept": int(mask.sum()),
            "density by gate": dict(zip(GATES, by_gate, strict=True)),
            "units fed": int(mask.reshape(len(GATES), -1, mask.shape[1]).any(0).any(1).sum()),
            "units read": int(mask.any(0).sum()),
            "in common with magnitude": int((mask & beside).sum()) / max(1, int(mask.sum())),
            "before": before,
            "after": accuracy(model, images),
        }


# ------------------------------------------------------------------------------------------ report


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Of accuracies, in per cent."""
    percent = [100 * value for value in values]
    return statistics.fmean(percent), statistics.stdev(percent) if len(percent) > 1 else 0.0


def collected(rows: Sequence[dict[str, Any]], mask: str, key: str) -> dict[float, list[float]]:
    """The values of one mask by sparsity, over all seeds."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if row["mask"] == mask:
            found.setdefault(row["sparsity"], []).append(row[key])
    return found


def table(rows: Sequence[dict[str, Any]], sparsities: Sequence[float]) -> str:
    """Markdown: test accuracy in per cent, mean ± standard deviation over seeds."""
    lines = []
    for key, title in (
        ("before", "Right after pruning"),
        ("after", "After training under the mask"),
    ):
        lines += [f"### {title}", ""]
        lines += ["| mask | " + " | ".join(f"{s:.1%}" for s in sparsities) + " |"]
        lines += ["| --- |" + " ---: |" * len(sparsities)]
        for mask in MASKS:
            cells = [
                "{:.2f} ± {:.2f}".format(*mean_and_deviation(values))
                for _, values in sorted(collected(rows, mask, key).items())
            ]
            lines.append(f"| {mask} | " + " | ".join(cells) + " |")
        for mask in ("dense", "no recurrence"):
            (values,) = collected(rows, mask, key).values()
            cell = "{:.2f} ± {:.2f}".format(*mean_and_deviation(values))
            lines.append(f"| {mask} | {cell} |" + " |" * (len(sparsities) - 1))
        lines.append("")
    return "\n".join(lines)


def main(
    data: Path | None = None,
    output: Path = Path("lattice-mnist"),
    settings: Settings = Settings(),
    threads: int = 1,
) -> None:
    """Run the study, or what is left of it, and write its table and figure.

    Args:
        data: folder with the four IDX files of MNIST; scikit-learn's digits without it.
        output: folder for `results.json`, `table.md` and `figure.png`; a seed that is stored there
            already is not run again.
        settings: the configuration.
        threads: to compute on.
    """
    torch.set_num_threads(threads)
    images = digits() if data is None else read_images(data)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "results.json"
    stored = json.loads(path.read_text()) if path.exists() else {"rows": []}
    rows = stored["rows"]
    done = {row["seed"] for row in rows}
    for seed in settings.seeds:
        if seed in done:
            continue
        start = time.monotonic()
        for row in study(images, settings, seed):
            rows.append(row)
            print(
                f"seed {seed}, {time.monotonic() - start:5.0f} s: {row['mask']} at "
                f"{row['sparsity']:.1%}: {row['before']:.2%}, then {row['after']:.2%}",
                flush=True,
            )
        record = {
            "images": images.name,
            "settings": asdict(settings),
            "torch": torch.__version__,
            "rows": rows,
        }
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    (output / "table.md").write_text(table(rows, settings.sparsities))
    figure(rows, settings.sparsities).savefig(output / "figure.png", dpi=160)


# Colour and dash of each line: hue tells what decides, a dash that it is a control.
LINES: dict[str, tuple[str, str]] = {
    "magnitude": (PALETTE["ink"], "-"),
    "lattice times magnitude": (PALETTE["accent"], "-"),
    "centrality times magnitude": (PALETTE["accent"], ":"),
    "lattice, continuous": (PALETTE["lost"], "-"),
    "lattice, binary": (PALETTE["lost"], "--"),
    "centrality": (PALETTE["lost"], ":"),
    "random, degrees of magnitude": (PALETTE["muted"], ":"),
    "random": (PALETTE["muted"], "-"),
}
TICKS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99)


@rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
def figure(rows: Sequence[dict[str, Any]], sparsities: Sequence[float]) -> Figure:
    """Test accuracy over what is removed, before and after training: means, ranges of seeds."""
    drawing = Figure(figsize=(9.6, 4.4))
    panels = drawing.subplots(1, 2, sharey=True)
    drawing.subplots_adjust(left=0.06, right=0.725, top=0.9, bottom=0.12, wspace=0.14)
    titles = ("right after pruning", "after training under the mask")
    for axes, key, title in zip(panels, ("before", "after"), titles, strict=True):
        for mask, (colour, dash) in LINES.items():
            points = sorted(collected(rows, mask, key).items())
            axes.plot(
                [1 - sparsity for sparsity, _ in points],
                [statistics.fmean(values) for _, values in points],
                label=mask,
                color=colour,
                linestyle=dash,
                linewidth=1.6,
                marker="o",
                markersize=3,
                clip_on=False,
            )
            for sparsity, values in points:
                ends = (min(values), max(values))
                axes.plot([1 - sparsity] * 2, ends, color=colour, linewidth=0.8, alpha=0.45)
        for mask, name in (("dense", "not pruned"), ("no recurrence", "no recurrent connection")):
            (values,) = collected(rows, mask, key).values()
            level = statistics.fmean(values)
            axes.axhline(level, color=PALETTE["faded"], linewidth=0.9, zorder=1)
            axes.annotate(
                name,
                (0.99 if mask == "dense" else 0.01, level),
                (0, 3 if mask == "dense" else -11),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right" if mask == "dense" else "left",
                color=PALETTE["muted"],
            )
        axes.set_xscale("log")
        axes.set_xlim(1 - sparsities[0], 1 - sparsities[-1])
        axes.set_xticks([1 - s for s in sparsities], [f"{100 * s:g}" for s in sparsities])
        axes.set_yscale("logit")
        axes.set_ylim(0.1, 0.992)
        axes.set_yticks(TICKS, [f"{100 * tick:g}" for tick in TICKS])
        axes.minorticks_off()
        axes.grid(axis="y", color=PALETTE["rule"], linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title(f"test accuracy {title}, %", loc="left", fontsize=9.5)
        axes.set_xlabel("recurrent connections removed, %", color=PALETTE["muted"])
    panels[1].legend(
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        handlelength=2.6,
        labelspacing=0.7,
    )
    return drawing


if __name__ == "__main__":
    auto_cli(main)
