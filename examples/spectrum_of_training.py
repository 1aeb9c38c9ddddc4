"""What training does to the Lyapunov spectrum of an LSTM, and how many steps it takes to see it.

Trains a small language model on a generated text of known entropy and draws two figures: the
spectrum before and after training, and the largest exponent as more and more steps are averaged.
Bands are two standard errors over sequences wide, to either side. Takes about a minute.

    python examples/spectrum_of_training.py --output figures --epochs 6
"""

import argparse
from pathlib import Path

import numpy as np

from lsh_native.data import evaluation_columns, generate_corpus
from lsh_native.lyapunov import Spectrum, compare_spectra
from lsh_native.report import plots
from lsh_native.report.view import Role
from lsh_native.training import Recipe, Trainer, draw_model, perplexity


def main() -> None:
    """Trains, takes both spectra on the same tokens, and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("figures"), help="folder to write to")
    parser.add_argument("--epochs", type=int, default=6, help="epochs to train")
    parser.add_argument("--steps", type=int, default=400, help="time steps to average")
    options = parser.parse_args()

    corpus = generate_corpus(train_tokens=40_000)
    recipe = Recipe(model={"hidden_size": 64, "num_layers": 1}, epochs=options.epochs)
    untrained = draw_model(recipe, len(corpus.vocabulary), seed=0)
    model = draw_model(recipe, len(corpus.vocabulary), seed=0)
    trainer = Trainer(model, corpus, recipe, seed=0)
    for _ in range(options.epochs):
        result = trainer.train_epoch()
        print(f"epoch {trainer.epoch}: validation perplexity {perplexity(result.valid_loss):.1f}")

    tokens = evaluation_columns(corpus.valid, 8)[: options.steps + 80]
    # in float32 a gate that training saturated has a derivative of zero: -inf, without a distance
    found = compare_spectra(
        *(untrained.double(), model.double(), tokens),
        state_warmup=40,
        tangent_warmup=40,
        history=True,
    )
    print(f"distance {found.distance:.3f} ± {found.distance_error:.3f} nats")
    spectra = (("untrained", Role.DENSE, found.dense), ("trained", Role.FOUND, found.pruned))
    for name, _, spectrum in spectra:
        print(f"{name}: largest exponent {spectrum.largest:+.4f}")

    options.output.mkdir(parents=True, exist_ok=True)
    drawings = {
        "spectrum": plots.spectrum(
            [_over_index(*named) for named in spectra], title="Lyapunov exponents, nats per step"
        ),
        "convergence": plots.convergence(
            [_over_time(*named) for named in spectra], title="largest exponent, nats per step"
        ),
    }
    for name, drawing in drawings.items():
        path = options.output / f"{name}.svg"
        path.write_text(plots.to_svg(drawing), encoding="utf-8")
        print(path)


def _over_index(label: str, role: Role, spectrum: Spectrum) -> plots.Curve:
    assert spectrum.standard_errors is not None
    return plots.Curve(
        label=label,
        role=role,
        x=np.arange(1, len(spectrum.exponents) + 1),
        y=spectrum.exponents,
        error=2 * spectrum.standard_errors,
    )


def _over_time(label: str, role: Role, spectrum: Spectrum) -> plots.Curve:
    assert spectrum.history is not None
    assert spectrum.standard_errors is not None
    return plots.Curve(
        label=label,
        role=role,
        x=np.array(spectrum.history_steps),
        y=spectrum.history[:, 0],
        error=2 * spectrum.standard_errors[0],
    )


if __name__ == "__main__":
    main()
