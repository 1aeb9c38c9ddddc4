"""A run held against a recorded one: wide bounds, ratios only."""

import pytest
from test_record import MACHINE, row

from bench import against, record


def recorded(ratio: float) -> dict[str, object]:
    return record.record([row(ratio=ratio)], MACHINE, short=True)


@pytest.mark.parametrize(("now", "falls"), [(2.0, False), (1.4, False), (1.2, True), (9.0, False)])
def test_only_what_noise_does_not_explain(now: float, falls: bool) -> None:
    lines = against.slower([row(ratio=now)], recorded(2.0))
    assert bool(lines) == falls
    if falls:
        assert lines == ["step, nn.LSTM: 1.20 to 1.20, recorded 2.00 to 2.00"]


def test_a_run_without_any_known_case_is_refused() -> None:
    run = recorded(2.0)
    run["cases"] = []
    with pytest.raises(ValueError, match="must hold a case that was measured, got none"):
        against.slower([row()], run)


def test_other_machines_are_told_apart() -> None:
    run = recorded(2.0)
    assert against.same_machine(run, "a processor", "v3")
    assert not against.same_machine(run, "a processor", "v4")
    assert not against.same_machine(run, "another", "v3")
