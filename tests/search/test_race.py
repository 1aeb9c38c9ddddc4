"""Rounds of every kind over a runner that trains nothing, and what they owe to each other."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from synthetic_runner import SyntheticRunner, make_study, quality

from lsh_native.search.constraint import Constraint
from lsh_native.search.coordinator import Limits
from lsh_native.search.errors import ReferenceLostError, ScoreFailedError, StoreError
from lsh_native.search.events import ScoreFailed, StudyPaused
from lsh_native.search.executors.inline import Inline
from lsh_native.search.executors.job import Job
from lsh_native.search.halving import ASHA, Halving, Hyperband, geometric
from lsh_native.search.interval import Interval
from lsh_native.search.result import read_result
from lsh_native.search.rounds import Elimination, Full
from lsh_native.search.sampler import BayesianSampler, GridSampler
from lsh_native.search.score import SCORES
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.trial import REPEAT, State

ROUNDS = {
    "elimination": Elimination(total=9, first=3),
    "insertion": Elimination(total=9, first=3, insertions=2),
    "halving": Halving(total=9, first=1),
    "hyperband": Hyperband(total=9),
    "asha": ASHA(total=9, first=1),
    "full": Full(total=9),
}


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store._database.query("PRAGMA synchronous = OFF")
        yield store


class Several:
    """An executor that takes several jobs and does them in an order of its own."""

    def __init__(self, runner, places, seed):
        self.inline, self.places = Inline(runner), places
        self.generator = np.random.default_rng(seed)
        self.jobs: list[Job] = []

    @property
    def free(self):
        return self.places - len(self.jobs)

    def submit(self, job):
        assert job.trial.number not in {other.trial.number for other in self.jobs}
        self.jobs.append(job)

    def work(self, send):
        self.inline.submit(self.jobs.pop(self.generator.integers(len(self.jobs))))
        self.inline.work(send)

    def finish(self, send):
        self.jobs.clear()

    def close(self):
        self.jobs.clear()


def table(store):
    return [
        (
            replace(trial, created="", started=None, ended=None),
            store.epochs(trial.number),
            store.distances(trial.number),
        )
        for trial in (*store.trials(), *store.repeats())
    ] + [store.rungs(), store.scores()]


@pytest.mark.parametrize("name", ROUNDS)
def test_rounds_do_not_depend_on_workers(tmp_path, name):
    tables = []
    for places in (1, 2, 8):
        folder = tmp_path / str(places)
        folder.mkdir()
        with Store(folder / "study.db") as store:
            store._database.query("PRAGMA synchronous = OFF")
            runner = SyntheticRunner(folder, nan=lambda trial, epoch: trial.number == 4)
            executor = Several(runner, places, seed=places)
            make_study(
                store,
                None,
                executor=executor,
                rounds=ROUNDS[name],
                candidates=13,
                sampler=BayesianSampler(starts=3),
                seeds=1 + (name == "halving"),
            ).run()
            tables.append(table(store))
            assert len(set(runner.trained)) == len(runner.trained), "an epoch was trained twice"
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize("name", ROUNDS)
def test_rounds_go_on_where_they_were(tmp_path, name):
    tables = []
    for step in (10_000, 13):
        folder = tmp_path / str(step)
        folder.mkdir()
        with Store(folder / "study.db") as store:
            store._database.query("PRAGMA synchronous = OFF")
            runner = SyntheticRunner(folder, nan=lambda trial, epoch: trial.number == epoch == 4)
            limit = 0
            while not store.finished:
                limit += step
                executor = Several(runner, 3, seed=step)
                make_study(
                    store, None, executor=executor, rounds=ROUNDS[name], candidates=9, seeds=2
                ).run(limits=Limits(epochs=limit))
            tables.append(table(store))
            assert len(set(runner.trained)) == len(runner.trained), "an epoch was trained twice"
    assert tables[0] == tables[1]


@pytest.mark.parametrize("name", ROUNDS)
def test_every_rounds_find_a_good_candidate_and_say_what_happened(store, tmp_path, name):
    runner = SyntheticRunner(tmp_path)
    study = make_study(store, runner, rounds=ROUNDS[name], candidates=13)
    result = study.run()
    states = Counter(str(s.trial.state) for s in result.trials)
    assert states["complete"] >= 1
    assert states["complete"] + states["stopped"] == len(result.trials)
    ranked = sorted(result.trials, key=lambda s: quality(s.trial))
    assert result.best.trial.number in {s.trial.number for s in ranked[:4]}
    for rung in store.rungs():
        assert store.has_spectrum(rung.trial, rung.epoch)
        assert rung.epoch in ROUNDS[name].compared(13)
    assert len(result.trials) == 13 + (6 if name == "insertion" else 0)
    trained = sum(s.trial.epochs for s in result.trials)
    assert result.budget.trial_epochs == trained == len(runner.trained) - 9
    if name in ("elimination", "insertion"):
        assert trained == ROUNDS[name].epochs(13)
    if name == "full":
        assert trained == 13 * 9


def test_inserted_candidates_are_neighbours_of_survivors(store, tmp_path):
    make_study(store, SyntheticRunner(tmp_path), rounds=ROUNDS["insertion"], candidates=9).run()
    trials = {trial.number: trial for trial in store.trials()}
    first = [rung.trial for rung in store.rungs() if rung.round == 1 and rung.kept]
    for number in (10, 11):
        near = trials[number].candidate.to_dict().items()
        parents = [trials[parent].candidate.to_dict().items() for parent in first]
        assert min(len(near - parent) for parent in parents) == 1


def test_halving_keeps_a_third():
    plan = Halving(total=27, first=1).plan(27)
    assert [(rung.epoch, rung.entering, rung.kept) for rung in plan] == [
        (1, 27, 9),
        (3, 9, 3),
        (9, 3, 1),
    ]
    assert Halving(total=9, first=9).plan(5) == ()
    assert geometric(2, 20, 3) == (2, 6, 18)


def test_hyperband_has_the_published_brackets():
    # R = 81 and η = 3: 81, 34, 15, 8, 5 trials that start at 1, 3, 9, 27, 81 epochs.
    assert Hyperband(total=81).brackets(143) == ((1, 81), (3, 34), (9, 15), (27, 8), (81, 5))
    assert sum(count for _, count in Hyperband(total=9).brackets(7)) == 7


def test_asha_promotes_the_best_third(store, tmp_path):
    rounds = ASHA(total=27, first=1)
    make_study(store, SyntheticRunner(tmp_path), rounds=rounds, candidates=27, ahead=3).run()
    by_epoch = {}
    for rung in store.rungs():
        by_epoch.setdefault(rung.epoch, []).append(rung)
    assert len(by_epoch[1]) == 27
    assert 9 <= sum(rung.kept for rung in by_epoch[1]) <= 15
    kept = [rung.rank for rung in by_epoch[1] if rung.kept]
    assert kept == list(range(1, len(kept) + 1))
    # It overlaps: somebody was at epoch 3 before the last candidate was proposed.
    assert len(by_epoch[3]) == len(kept)


@pytest.mark.parametrize(
    ("rounds", "values", "message"),
    [
        (Halving, {"total": 9, "first": 0}, "1 <= first <= total, got first 0, total 9"),
        (Hyperband, {"total": 9, "factor": 1}, "factor must be at least 2, got 1"),
        (ASHA, {"total": 9, "first": 10}, "1 <= first <= total, got first 10"),
        (Elimination, {"total": 9, "first": 1, "insertions": -1}, "insertions must be at least 0"),
    ],
)
def test_bad_rounds(rounds, values, message):
    with pytest.raises(ValueError, match=message):
        rounds(**values)


def test_several_seeds_are_judged_by_their_mean(store, tmp_path):
    make_study(store, SyntheticRunner(tmp_path), candidates=5, seeds=3, score="loss").run()
    assert len(store.repeats()) == 10
    for score in store.scores():
        if score.name == "loss":
            losses = [
                store.epochs(score.trial + REPEAT * k)[score.epoch - 1].valid_loss for k in range(3)
            ]
            assert score.value == pytest.approx(np.mean(losses))
    stopped = [t.number for t in store.trials() if t.state is State.STOPPED]
    last = {r.trial: r.epoch for r in store.rungs() if not r.kept}
    for trial in store.repeats():
        assert trial.epochs == (last[trial.repeats] if trial.repeats in stopped else 6)


def test_who_breaks_a_constraint_comes_last(store, tmp_path):
    class Heavy(SyntheticRunner):
        def run(self, trial, until, record):
            def weighed(epoch):
                record(replace(epoch, details={"non_zeros": 100 * (trial.number % 2)}))

            super().run(trial, until, weighed)

    constraint = Constraint(name="non_zeros", at_most=50)
    study = make_study(store, Heavy(tmp_path), candidates=8, constraints=(constraint,))
    result = study.run()
    finished = [s.trial.number for s in result.trials if s.trial.state is State.COMPLETE]
    assert all(number % 2 == 0 for number in finished)
    assert result.missed == ()
    absent = make_study(store, Heavy(tmp_path), candidates=8, constraints=())
    with pytest.raises(StoreError, match=r"search\.constraints\.non_zeros is 50 there and absent"):
        absent.run()


@pytest.mark.parametrize("most", [-1, math.nan, math.inf])
def test_a_constraint_that_nobody_can_miss_or_keep(most):
    with pytest.raises(ValueError, match=f"at_most must be finite and at least 0, got {most}"):
        Constraint(name="non_zeros", at_most=most)


class Sized(SyntheticRunner):
    """The loss falls with density; there are 1000 connections, and time falls with them."""

    def run(self, trial, until, record):
        def weighed(epoch):
            density = trial.candidate.density if trial.candidate else 1.0
            loss = 4 - 2 * density + 3 * math.exp(-epoch.epoch / 3)
            details = {"non_zeros": int(1000 * density), "token_milliseconds": 1 - density}
            record(replace(epoch, valid_loss=loss, train_loss=loss, details=details))

        super().run(trial, until, weighed)


def sizes(low, high):
    return Space(
        density=Interval(low=low, high=high),
        drop=("set",),
        initial=("uniform",),
        redistribute=("none",),
        drop_fraction=(0.5,),
    )


SPARSE = Constraint(name="non_zeros", at_most=300)


@pytest.mark.parametrize("low", [0.05, 0.28])
def test_proposals_keep_to_a_constraint(store, tmp_path, low):
    make_study(
        store,
        Sized(tmp_path),
        space=sizes(low, 0.95),
        candidates=24,
        score="loss",
        sampler=BayesianSampler(),
        constraints=(SPARSE,),
        ahead=1,
    ).run()
    densities = [trial.candidate.density for trial in store.trials()[1:]]
    assert sum(density <= 0.301 for density in densities[5:]) >= 10
    # The constraint, not the space, is what bounds the best one.
    assert read_result(store).best.trial.candidate.density == pytest.approx(0.3, abs=0.02)


def test_a_missed_target_is_told_in_numbers(store, tmp_path):
    result = make_study(
        store, Sized(tmp_path), space=sizes(0.5, 0.9), candidates=6, constraints=(SPARSE,)
    ).run()
    (missed,) = result.missed
    least = min(trial.candidate.density for trial in store.trials()[1:])
    assert result.best.trial.candidate.density == least
    assert missed.value == int(1000 * least)
    assert str(missed) == (
        "No candidate that finished keeps to every target: at most 300 non-zeros were asked for, "
        f"the network found has {missed.value}."
    )


def test_excesses_in_different_units_are_shares(store, tmp_path):
    # A tenth of 500 connections too many weighs less than a half of 0.2 milliseconds.
    constraints = (
        Constraint(name="non_zeros", at_most=500),
        Constraint(name="token_milliseconds", at_most=0.2),
    )
    result = make_study(
        store,
        Sized(tmp_path),
        space=replace(sizes(0.5, 0.9), density=(0.55, 0.65, 0.75)),
        sampler=GridSampler(),
        candidates=3,
        rounds=Full(total=4),
        constraints=constraints,
    ).run()
    assert result.best.trial.candidate.density == 0.75
    assert [missed.constraint.name for missed in result.missed] == [
        "non_zeros",
        "token_milliseconds",
    ]


def test_the_winner_is_the_best_by_the_mean_over_its_seeds(store, tmp_path):
    class Lucky(SyntheticRunner):
        def run(self, trial, until, record):
            def shifted(epoch):
                luck = 0.2 * (trial.number == 2)  # in its first training only
                loss = 4 + 0.1 * (trial.number % REPEAT) - luck + math.exp(-epoch.epoch)
                record(replace(epoch, valid_loss=loss, train_loss=loss))

            super().run(trial, until, shifted)

    result = make_study(
        store, Lucky(tmp_path), rounds=Full(total=4), candidates=3, seeds=3, score="loss"
    ).run()
    assert result.best.trial.number == 1
    assert result.budget.full_search_epochs == result.budget.trial_epochs == 36
    losses = {s.trial.number: s.loss for s in result.trials}
    assert losses[2] == pytest.approx(4.2 - 0.2 / 3 + math.exp(-4))


def test_a_candidate_is_lost_with_any_of_its_repeats(store, tmp_path):
    runner = SyntheticRunner(
        tmp_path, nan=lambda trial, epoch: (trial.number, epoch) == (REPEAT + 2, 6)
    )
    result = make_study(store, runner, candidates=3, seeds=2, rounds=Full(total=6)).run()
    lost = store.trial(2)
    assert lost.state is State.DIVERGED
    assert lost.reason == (
        "its training with another seed diverged: the validation loss is nan after epoch 6"
    )
    assert result.best.trial.number != 2
    assert {rung.trial for rung in store.rungs()} == {1, 3}


@pytest.mark.parametrize("stop", [None, 40, 60])
def test_who_is_lost_later_counts_until_then(tmp_path, stop):
    """However far ahead of the virtual time the workers, or an earlier call, have come."""
    tables = []
    for places, limits in ((1, (None,)), (8, (stop, None))):
        folder = tmp_path / str(places)
        folder.mkdir()
        with Store(folder / "study.db") as store:
            store._database.query("PRAGMA synchronous = OFF")
            runner = SyntheticRunner(
                folder, nan=lambda trial, epoch: trial.number % 3 == 1 and epoch == 2
            )
            for limit in limits:
                make_study(
                    store,
                    None,
                    executor=Several(runner, places, seed=places),
                    rounds=ROUNDS["asha"],
                    candidates=27,
                    sampler=BayesianSampler(starts=3),
                    ahead=8,
                ).run(limits=Limits(epochs=limit))
            tables.append(table(store))
    assert tables[0] == tables[1]


@pytest.mark.parametrize("name", ROUNDS)
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_cancelled_candidate_takes_no_further_part(store, tmp_path, name, seeds):
    changes = {"rounds": ROUNDS[name], "candidates": 9, "seeds": seeds}
    runner = SyntheticRunner(tmp_path)
    make_study(store, runner, **changes).run(limits=Limits(epochs=9 + 7 * seeds))
    assert not store.finished
    trained = len(runner.trained)
    store.cancel([1, 3])
    result = make_study(store, runner, **changes).run()
    assert result.best.trial.number not in (1, 3)
    for number in (1, 3):
        assert store.trial(number).state is State.CANCELLED
        assert store.trial(number).reason == "it was taken out by hand"
    later = {number % REPEAT for number, _ in runner.trained[trained:]}
    assert not later & {1, 3}
    before = table(store)
    make_study(store, runner, **changes).run()
    assert table(store) == before


def test_a_score_that_raises_is_named(store, tmp_path):
    def broken(pool):
        raise RuntimeError("no such thing")

    scores = {**SCORES, "broken": broken, "flat": lambda pool: np.zeros(3)}
    runner = SyntheticRunner(tmp_path)
    with pytest.raises(ScoreFailedError, match="the score broken raised RuntimeError: no such"):
        make_study(store, runner, scores=scores, score="broken").run()
    # Mended, the study goes on where it was; a score that only watches costs its column.
    mended = {**scores, "broken": SCORES["loss"], "other": broken}
    events = []
    result = make_study(store, runner, scores=mended, score="broken").run(events.append)
    assert result.best is not None
    failed = {event.name: event.reason for event in events if isinstance(event, ScoreFailed)}
    assert failed["other"] == "the score other raised RuntimeError: no such thing"
    assert "one number for each of 5 trials, got an array of shape (3,)" in failed["flat"]
    assert {s.value for s in store.scores() if s.name == "other"} == {None}


class ReferenceLast(Several):
    """Does the candidates' jobs first."""

    def work(self, send):
        self.jobs.sort(key=lambda job: job.trial.number)
        self.inline.submit(self.jobs.pop())
        self.inline.work(send)


def by_the_final_reference(pool):
    pool.dense[pool.total]
    return SCORES["loss"](pool)


def test_a_budget_that_ends_while_a_score_waits_pauses_the_study(tmp_path):
    tables, events = [], []
    for name, limits in (("whole", [None]), ("paused", [13, None])):
        (tmp_path / name).mkdir()
        with Store(tmp_path / name / "study.db") as store:
            for limit in limits:
                make_study(
                    store,
                    None,
                    executor=ReferenceLast(SyntheticRunner(tmp_path / name), 3, seed=0),
                    scores={"final": by_the_final_reference},
                    score="final",
                ).run(events.append, limits=Limits(epochs=limit))
                if limit is not None:
                    assert [trial.epochs for trial in store.trials()] == [3, 2, 2, 2, 2, 2]
                    assert isinstance(events[-1], StudyPaused)
                    assert store.rungs() == ()
            tables.append(table(store))
    assert tables[0] == tables[1]


def test_a_reference_that_diverges_while_a_score_waits_is_named(store, tmp_path):
    runner = SyntheticRunner(tmp_path, nan=lambda trial, epoch: (trial.number, epoch) == (0, 4))
    with pytest.raises(ReferenceLostError, match=r"the validation loss is nan after epoch 4$"):
        make_study(
            store,
            None,
            executor=ReferenceLast(runner, 3, seed=0),
            scores={"final": by_the_final_reference},
            score="final",
        ).run()


def test_a_ranking_looks_only_at_what_its_score_asks_for(store, tmp_path, monkeypatch):
    asked = []
    original = store.measurement
    monkeypatch.setattr(store, "measurement", lambda *at: asked.append(at) or original(*at))
    pools = {}

    def aware(pool):
        pools[pool.epoch] = ([m.number for m in pool], [m.number for m in pool.others])
        return SCORES["loss"](pool)

    rounds = Elimination(total=9, first=3)
    runner = SyntheticRunner(tmp_path, nan=lambda trial, epoch: (trial.number, epoch) == (2, 4))
    make_study(store, runner, rounds=rounds, candidates=8, score="loss").run()
    ranked = {(r.trial, r.epoch) for r in store.rungs()}
    assert sorted(asked) == sorted(ranked), "once each, and no one who is not ranked"
    with Store(tmp_path / "again.db") as again:
        (tmp_path / "again").mkdir()
        runner = SyntheticRunner(tmp_path / "again", nan=runner.nan)
        scores = {"aware": aware}
        changes = {"rounds": rounds, "candidates": 8, "score": "aware", "scores": scores}
        make_study(again, runner, **changes).run()
        assert again.rungs() == store.rungs()
    for inside, others in pools.values():
        assert not set(inside) & set(others)
    inside, others = pools[3]
    assert sorted(inside + others) == list(range(1, 9))
    assert set(pools[5][1]) == {r.trial for r in store.rungs() if r.epoch == 3 and not r.kept}


@pytest.mark.parametrize("name", ["lyapunov_final", "surrogate", "extrapolation", "smooth_loss"])
def test_other_scores_decide(store, tmp_path, name):
    study = make_study(store, SyntheticRunner(tmp_path), scores=SCORES, score="loss", candidates=8)
    assert study.run().best is not None
    values = [s.value for s in store.scores() if s.name == name]
    # The synthetic spectra carry no conventions, so only the study's own distance can be taken.
    assert all(value is None for value in values) == name.startswith("lyapunov_")


def test_a_study_pauses_where_its_budget_ends(store, tmp_path):
    events = []
    runner = SyntheticRunner(tmp_path)
    result = make_study(store, runner).run(events.append, limits=Limits(epochs=10))
    assert result.best is None
    assert not store.finished
    assert 10 <= len(runner.trained) <= 12
    (paused,) = [event for event in events if isinstance(event, StudyPaused)]
    assert paused.reason.endswith("10 may be")
    result = make_study(store, runner).run(limits=Limits(seconds=60))
    assert result.best is not None
    assert len(set(runner.trained)) == len(runner.trained)
    with pytest.raises(ValueError, match="the limit of epochs must be above 0, got 0"):
        Limits(epochs=0)
