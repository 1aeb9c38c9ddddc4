"""`lsh-native train`: trains one network, dense or pruned one way."""

from __future__ import annotations

from pathlib import Path

from lsh_native.cli.data import DataSettings, load_corpus
from lsh_native.cli.progress import Progress
from lsh_native.cli.threads import use_threads
from lsh_native.search.candidate import Candidate
from lsh_native.search.training_runner import TrainingRunner
from lsh_native.search.trial import EpochRecord, Trial
from lsh_native.training import Recipe, perplexity, save_model

__all__ = ["train"]


def train(
    data: Path | None = None,
    output: Path = Path("lsh-model"),
    sparsity: float = 0.0,
    candidate: Candidate = Candidate(  # noqa: B008 - frozen
        initial="erdos_renyi",
        drop="global_magnitude",
        grow="random",
        redistribute="nonzeros",
        drop_fraction=0.7,
    ),
    seed: int = 0,
    recipe: Recipe = Recipe(),  # noqa: B008
    text: DataSettings = DataSettings(),  # noqa: B008
    threads: int | None = None,
) -> None:
    """Trains one network; run again, it goes on from its last epoch.

    Args:
        data: folder with train, valid and test text; without it a text of known entropy is made.
        output: folder for the checkpoint and the model.
        sparsity: share of all weight matrices to remove, in [0, 1); 0 trains the dense network.
        candidate: how it is pruned, if at all; the published winner by default.
        seed: of everything random.
        recipe: model and training.
        text: how the text becomes tokens.
        threads: threads to compute on; torch's choice by default.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}")
    use_threads(threads)
    corpus = load_corpus(data, text)
    output.mkdir(parents=True, exist_ok=True)
    with Progress() as progress:
        runner = TrainingRunner(
            corpus=corpus,
            recipe=recipe,
            density=1 - sparsity,
            folder=output,
            on_step=progress.on_step,
        )
        trial = Trial(number=0, candidate=candidate if sparsity > 0 else None, seed=seed)

        def record(epoch: EpochRecord) -> None:
            progress.say(
                f"epoch {epoch.epoch} of {recipe.epochs}: validation perplexity "
                f"{perplexity(epoch.valid_loss):.2f}, training {perplexity(epoch.train_loss):.2f}, "
                f"density {epoch.density:.3f}, {epoch.seconds:.1f} s"
            )

        runner.run(trial, recipe.epochs, record)
        best = runner.best(trial)
    path = output / "model.safetensors"
    save_model(path, best, recipe, corpus.vocabulary)
    print(
        f"{path}: epoch {best.epoch}, validation perplexity {perplexity(best.valid_loss):.2f}"
        + (f"; best possible {corpus.best_perplexity:.2f}" if corpus.best_perplexity else "")
    )
