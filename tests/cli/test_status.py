"""`lsh-native status --watch` ends with the study, however that ended."""

from contextlib import suppress
from pathlib import Path

import pytest
from synthetic_runner import SyntheticRunner, make_study

from lsh_native.cli.status import status
from lsh_native.search.coordinator import Limits
from lsh_native.search.errors import StudyError
from lsh_native.search.store import Store


class Waits(Exception):  # noqa: N818 - an outcome
    """Another look would be taken."""


def wait(seconds: float) -> None:
    raise Waits


@pytest.mark.parametrize(
    ("lost", "limit", "ends"),
    [((), None, True), ((0,), None, True), ((1, 2, 3), None, True), ((2,), 8, False)],
)
def test_it_is_watched_until_it_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: tuple[int, ...],
    limit: int | None,
    ends: bool,
) -> None:
    runner = SyntheticRunner(tmp_path, nan=lambda trial, epoch: trial.number in lost)
    with Store(tmp_path / "study.db") as store, suppress(StudyError):
        make_study(store, runner, candidates=3).run(limits=Limits(epochs=limit))
    monkeypatch.setattr("time.sleep", wait)
    if ends:
        status(tmp_path, watch=True)
    else:
        with pytest.raises(Waits):
            status(tmp_path, watch=True)
