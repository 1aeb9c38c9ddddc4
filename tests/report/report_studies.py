"""Studies to look at: the synthetic runner of the search, finished or broken off."""

from contextlib import suppress

from synthetic_runner import SyntheticRunner, make_study

from lsh_native.report.final import Block, FinalTable, ModelFigures
from lsh_native.search.errors import StudyError
from lsh_native.search.result import read_result


class BrokenOffError(Exception):
    """Ends a study as a kill would."""


def run_study(store, folder, *, events=None, nan=lambda trial, epoch: False, **changes):
    """Run a study to its end, or until so many events happened; return its runner."""
    happened = 0

    def count(event):
        nonlocal happened
        happened += 1
        if happened == events:
            raise BrokenOffError

    runner = SyntheticRunner(folder, nan=nan)
    with suppress(BrokenOffError, StudyError):
        make_study(store, runner, **changes).run(count)
    return runner


def blocks(density):
    return tuple(
        Block(matrix=matrix, gate=gate, weights=weights, non_zeros=round(density * weights))
        for matrix, gate, weights in (
            ("embedding.weight", "", 6400),
            ("recurrent.weight_ih_l0", "i", 1024),
            ("recurrent.weight_ih_l0", "f", 1024),
            ("recurrent.weight_ih_l0", "g", 1024),
            ("recurrent.weight_ih_l0", "o", 1024),
        )
    )


def final_table_of(store):
    """The final table of a study, with measures that a runner would have made."""
    return FinalTable(
        dense=ModelFigures(
            method="dense",
            valid_perplexity=60.7123,
            test_perplexity=63.456,
            blocks=blocks(1.0),
            file_bytes=42_000,
            training_tokens_per_second=15_830.2,
            inference_tokens_per_second=41_207.9,
            epochs=6,
            seconds=3.0,
        ),
        found=ModelFigures(
            method="uniform set random none 0.5",
            valid_perplexity=61.2345,
            test_perplexity=64.5678,
            blocks=blocks(1 / 3),
            file_bytes=29_120,
            training_tokens_per_second=20_111.0,
            inference_tokens_per_second=60_211.5,
            epochs=6,
            seconds=2.5,
        ),
        budget=read_result(store).budget,
        best_possible_perplexity=53.2,
    )
