"""Published eliminations and budgets, and what every plan owes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsh_native.search.result import Budget
from lsh_native.search.rounds import Elimination, Full, half_and_one
from lsh_native.search.trial import Rung


def counts(rounds, candidates):
    return [candidates, *(rung.kept for rung in rounds.plan(candidates))]


def test_published_eliminations():
    rounds = Elimination.lsh2022()
    assert counts(rounds, 27) == [27, 14, 8, 5, 3, 2]
    assert [rung.epoch for rung in rounds.plan(27)] == [3, 6, 9, 12, 15]
    assert rounds.plan(27)[1] == Rung(round=2, epoch=6, entering=14, kept=8)


def test_published_budget():
    # 40 evaluations were 27 distinct candidates; the repeats trained their 3 epochs again.
    searched = Elimination.lsh2022().epochs(27) + (40 - 27) * 3
    assert searched == 40 * 3 + 3 * (14 + 8 + 5 + 3 + 2) + 2 * (100 - 18) == 380
    budget = Budget(candidates=40, total=100, trial_epochs=searched, reference_epochs=0)
    assert budget.full_search_epochs == 4000
    assert budget.full_search_ratio == pytest.approx(10.5, abs=0.05)
    with_reference = Budget(candidates=40, total=100, trial_epochs=searched, reference_epochs=100)
    assert with_reference.epochs == 480
    assert with_reference.full_search_ratio == pytest.approx(8.3, abs=0.05)
    assert with_reference.halving_epochs == 380
    assert with_reference.halving_ratio == pytest.approx(380 / 480)


def test_forty_distinct_candidates():
    rounds = Elimination.lsh2022()
    assert counts(rounds, 40) == [40, 21, 11, 6, 4, 3, 2]
    assert rounds.epochs(40) == 40 * 3 + 3 * (21 + 11 + 6 + 4 + 3) + 2 * (100 - 18)


def test_the_default_starts_at_a_third_and_ends_in_time():
    rounds = Elimination.spread(15)
    assert rounds.first == 5
    assert [(rung.epoch, rung.kept) for rung in rounds.plan(12)] == [
        (5, 7),
        (7, 4),
        (10, 3),
        (12, 2),
    ]
    assert Elimination.spread(16).first == 6


def test_eliminations_that_fall_together_are_one_rung():
    assert Elimination.spread(3).plan(27) == (
        Rung(round=1, epoch=1, entering=27, kept=5),
        Rung(round=2, epoch=2, entering=5, kept=2),
    )


def test_no_elimination_at_the_end():
    assert Elimination.lsh2022(total=10).plan(40)[-1] == Rung(round=3, epoch=9, entering=11, kept=6)
    assert Elimination.spread(1).plan(8) == ()
    assert Elimination.spread(1).epochs(8) == 8


@pytest.mark.parametrize("candidates", [1, 2])
def test_one_or_two_candidates_finish(candidates):
    assert Elimination.lsh2022().plan(candidates) == ()
    assert Elimination.lsh2022().epochs(candidates) == 100 * candidates


def test_full_training_compares_all_at_each_third_and_stops_nobody():
    assert Full(total=15).plan(4) == (
        Rung(round=1, epoch=5, entering=4, kept=4),
        Rung(round=2, epoch=10, entering=4, kept=4),
    )
    assert [Full(total=total).compared(4) for total in (1, 2, 3, 4)] == [(), (1,), (1, 2), (2, 3)]
    with pytest.raises(ValueError, match="total must be at least 1 epoch, got 0"):
        Full(total=0)


def test_a_full_search_trains_every_seed():
    budget = Budget(candidates=3, total=4, trial_epochs=20, reference_epochs=4, seeds=3)
    assert budget.full_search_epochs == 36


def test_another_rule():
    rounds = Elimination(total=9, first=1, every=2, survivors=lambda n: n // 3 or 1)
    assert counts(rounds, 27) == [27, 9, 3, 1]


@given(
    total=st.integers(1, 200),
    candidates=st.integers(1, 300),
    every=st.none() | st.integers(1, 50),
    share=st.floats(0, 1),
)
def test_plans_in_general(total, candidates, every, share):
    first = max(1, round(share * total))
    rounds = Elimination(total=total, first=first, every=every)
    plan = rounds.plan(candidates)
    assert [rung.round for rung in plan] == list(range(1, len(plan) + 1))
    assert [rung.entering for rung in plan] == counts(rounds, candidates)[:-1]
    assert all(1 <= rung.kept < rung.entering for rung in plan)
    epochs = [rung.epoch for rung in plan]
    assert epochs == sorted(set(epochs))
    assert all(first <= epoch < total for epoch in epochs)
    if plan:
        assert plan[0].epoch == first
    if every is None and first < total and candidates > 1:
        assert counts(rounds, candidates)[-1] == 2
    # An epoch is trained by all who entered the first rung at or after it, or by the finishers.
    trained = [
        next(
            (rung.entering for rung in plan if rung.epoch >= epoch), counts(rounds, candidates)[-1]
        )
        for epoch in range(1, total + 1)
    ]
    assert rounds.epochs(candidates) == sum(trained)


@given(st.integers(1, 10_000))
def test_half_and_one(count):
    assert half_and_one(count) == (count if count < 3 else count // 2 + 1)


def test_rounds_as_json():
    assert Elimination.lsh2022().to_dict() == {
        "kind": "elimination",
        "total": 100,
        "first": 3,
        "every": 3,
        "survivors": "half_and_one",
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"total": 10, "first": 0}, "1 <= first <= total, got first 0, total 10"),
        ({"total": 10, "first": 11}, "1 <= first <= total, got first 11"),
        ({"total": 0, "first": 1}, "1 <= first <= total, got first 1, total 0"),
        ({"total": 10, "first": 1, "every": 0}, "every must be at least 1 epoch, got 0"),
    ],
)
def test_bad_rounds(values, message):
    with pytest.raises(ValueError, match=message):
        Elimination(**values)


def test_bad_pools():
    with pytest.raises(ValueError, match="candidates must be at least 1, got 0"):
        Elimination.spread(9).plan(0)
    with pytest.raises(ValueError, match="survivors must keep at least 1 of 4, got 0"):
        Elimination(total=9, first=3, survivors=lambda n: 0).plan(4)
