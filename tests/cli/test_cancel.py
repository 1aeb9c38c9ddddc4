"""Taking candidates out of a search by hand."""

from pathlib import Path

import pytest
from test_cli import TINY

from lsh_native.cli.main import main
from lsh_native.search.store import Store
from lsh_native.search.trial import State


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A search whose budget has ended."""
    folder = tmp_path / "study"
    assert main(["search", f"--output={folder}", *TINY, "--running.max_epochs=4"]) == 0
    return folder


def test_a_search_goes_on_without_who_is_cancelled(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cancel", str(stopped), "1", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Cancelled: 1, 3. `lsh-native resu")
    assert main(["resume", str(stopped)]) == 0
    assert main(["status", str(stopped)]) == 0
    assert capsys.readouterr().out.count("cancelled") >= 2
    with Store(stopped / "study.db", read_only=True) as store:
        states = [trial.state for trial in store.trials()]
    assert states == [State.COMPLETE, State.CANCELLED, State.COMPLETE, State.CANCELLED]
    assert "it was taken out by hand" in (stopped / "report.html").read_text()


def test_who_cannot_be_cancelled(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for numbers, message in (
        (["0"], "trial 0 must be a candidate of"),
        (["1", "9"], "trial 9 must be a candidate of"),
    ):
        assert main(["cancel", str(stopped), *numbers]) == 1
        assert message in capsys.readouterr().err
    assert main(["cancel", str(stopped), "one"]) == 2
    assert "trials must be a whole number, got one" in capsys.readouterr().err
    with Store(stopped / "study.db"):
        assert main(["cancel", str(stopped), "1"]) == 1
    assert "stop it with Ctrl-C first" in capsys.readouterr().err
    assert main(["cancel", str(stopped / "nowhere"), "1"]) == 1
    assert "there must be a study at" in capsys.readouterr().err
    with Store(stopped / "study.db", read_only=True) as store:
        assert not any(trial.state.lost for trial in store.trials())
