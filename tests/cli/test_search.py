"""What `lsh-native search` makes of its options."""

from pathlib import Path

import pytest

from lsh_native.cli.main import main
from lsh_native.search.store import Store

TINY = [
    "--candidates=2",
    "--recipe.model.hidden_size=8",
    "--recipe.model.embedding_size=8",
    "--recipe.epochs=2",
    "--text.train_tokens=3000",
    "--running.executor=inline",
    "--running.threads=1",
]
SPECTRUM = ["--spectrum.steps=10", "--spectrum.state_warmup=5", "--spectrum.tangent_warmup=5"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--preset=lsh2022", "--recipe.model.family=gru"], "needs a stack of LSTM layers"),
        (["--spectrum.k=100000"], "spectrum.k must be at most 16, the size of the state"),
        (["--max_non_zeros=0"], "max_non_zeros must be at least 1, got 0"),
        (["--max_non_zeros=-5"], "max_non_zeros must be at least 1, got -5"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", f"--output={tmp_path / 'study'}", *TINY, *options]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert sentence in error
    assert not (tmp_path / "study").exists()


def test_finetuning_is_a_part_of_the_schedule(tmp_path: Path) -> None:
    finetuning = ["--recipe.optimizer=sgd", "--recipe.finetune_epochs=2"]
    assert main(["search", f"--output={tmp_path}", *TINY, *SPECTRUM, *finetuning]) == 0
    with Store(tmp_path / "study.db", read_only=True) as store:
        assert store.configuration["search"]["rounds"]["total"] == 4
        for trial in store.trials():
            epochs = store.epochs(trial.number)
            assert [e.epoch for e in epochs] == [1, 2, 3, 4]
            assert [e.details["averaging"] for e in epochs] == [False, False, True, True]
