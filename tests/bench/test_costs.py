"""What a search costs: the simulated study is one, and every row says its bound."""

import pytest

from bench.search import costs


def test_a_crowd_of_workers_in_virtual_time():
    (row,) = costs.scale(candidates=40, workers=8)
    assert row.details["rungs of trials"] >= 40 + costs.TOTAL
    assert 0 < row.details["share of CPU in writes of the store"] < 1
    assert row.measured == pytest.approx(1e3 / row.details["rungs a CPU s"])


def test_writes_are_timed_one_by_one():
    (row,) = costs.writes()
    parts = ("epoch ms", "spectrum ms")
    assert row.measured > sum(row.details[part] for part in parts)
    assert row.kept is (row.measured < row.must)
