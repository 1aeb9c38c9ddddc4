"""Whole studies over a runner that trains nothing."""

import itertools
import math
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from synthetic_runner import SyntheticRunner, l2, make_study, quality

from lsh_native.search.coordinator import Limits
from lsh_native.search.errors import (
    ConfigurationError,
    NothingFinishedError,
    ReferenceLostError,
)
from lsh_native.search.events import (
    Eliminated,
    EpochDone,
    PoolExhausted,
    SpectrumDone,
    StudyStarted,
    TrialCompleted,
    TrialLost,
    TrialProposed,
    TrialStarted,
)
from lsh_native.search.executors.inline import Inline
from lsh_native.search.result import read_result
from lsh_native.search.rounds import Elimination
from lsh_native.search.sampler import BayesianSampler, GridSampler, RandomSampler
from lsh_native.search.score import RECORDED, SCORES
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.study import trial_seed
from lsh_native.search.trial import REFERENCE, OutOfMemory, State, TrialFault

SMALL = Space(initial=("uniform",), drop=("set",), redistribute=("none",))  # 6 candidates


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store._database.query("PRAGMA synchronous = OFF")
        yield store


@pytest.fixture
def runner(tmp_path):
    return SyntheticRunner(tmp_path)


def everything(store):
    return [
        (
            replace(trial, created="", started=None, ended=None),
            store.epochs(trial.number),
            store.distances(trial.number),
        )
        for trial in store.trials()
    ] + [store.rungs(), store.scores(), store.configuration]


def test_a_study(store, runner):
    result = make_study(store, runner, candidates=27, rounds=Elimination.lsh2022(20)).run()
    assert result.reference.trial.state is State.COMPLETE
    assert [record.epoch for record in store.spectra(0)] == list(range(1, 21))
    assert Counter(s.trial.state for s in result.trials) == {"complete": 2, "stopped": 25}
    entered = Counter(record.round for record in store.rungs())
    assert list(entered.values()) == [27, 14, 8, 5, 3]
    assert Counter(s.trial.epochs for s in result.trials) == {
        3: 13,
        6: 6,
        9: 3,
        12: 2,
        15: 1,
        20: 2,
    }
    # Losses and distances both follow the quality, so the best of the pool is found.
    best = min(result.trials, key=lambda summary: quality(summary.trial))
    assert result.best == best
    assert result.best.best.valid_loss == min(r.valid_loss for r in store.epochs(best.trial.number))
    assert [s.trial.seed for s in result.trials] == [trial_seed(7, n) for n in range(1, 28)]


def test_the_budget_counts_everything(store, runner):
    rounds = Elimination.lsh2022(20)
    budget = make_study(store, runner, candidates=27, rounds=rounds).run().budget
    assert budget.trial_epochs == rounds.epochs(27) == 27 * 3 + 3 * (14 + 8 + 5 + 3) + 2 * 5
    assert (budget.reference_epochs, budget.candidates, budget.total) == (20, 27, 20)
    assert budget.full_search_epochs == 27 * 20
    spectra = 20 + 27 + 14 + 8 + 5 + 3 + 2
    assert budget.spectrum_seconds == pytest.approx(0.25 * spectra)
    assert budget.seconds == pytest.approx(0.5 * budget.epochs + 0.25 * spectra)
    assert len(runner.trained) == budget.epochs
    assert len(set(runner.trained)) == budget.epochs


def test_every_score_of_every_rung_is_kept(store, runner):
    make_study(store, runner, score="loss", rounds=Elimination(total=6, first=2)).run()
    for rung in store.rungs():
        by_name = {
            s.name: s.value
            for s in store.scores()
            if (s.trial, s.epoch) == (rung.trial, rung.epoch)
        }
        assert by_name.keys() == set(RECORDED)
        assert by_name["loss"] == store.epochs(rung.trial)[rung.epoch - 1].valid_loss
        assert by_name["lyapunov"] == store.distances(rung.trial)[rung.epoch]
        assert by_name["lyapunov"] == l2(
            store.spectrum(rung.trial, rung.epoch), store.spectrum(0, rung.epoch)
        )
    for round_ in (1, 2):
        values = [
            score.value
            for rung in store.rungs()
            for score in store.scores()
            if rung.round == round_
            and (score.trial, score.epoch, score.name) == (rung.trial, rung.epoch, "loss")
        ]
        assert values == sorted(values)


def test_finishers_have_a_spectrum_at_the_end(store, runner):
    result = make_study(store, runner).run()
    for summary in result.trials:
        finished = summary.trial.state is State.COMPLETE
        assert store.has_spectrum(summary.trial.number, 6) == finished
        assert summary.distance == store.distances(summary.trial.number)[summary.trial.epochs]


def test_the_score_decides(store, runner):
    scores = {**SCORES, "worst": lambda ms: np.array([-m.epochs[-1].valid_loss for m in ms])}
    result = make_study(store, runner, score="worst", scores=scores, candidates=8).run()
    worst = max(result.trials, key=lambda summary: quality(summary.trial))
    assert worst.trial.state is State.COMPLETE


def test_bayesian_proposals_follow_from_the_seed(tmp_path):
    tables = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with Store(tmp_path / name / "study.db") as store:
            sampler = BayesianSampler(starts=2)
            make_study(store, SyntheticRunner(tmp_path / name), sampler=sampler).run()
            tables.append(everything(store))
    assert tables[0] == tables[1]


def test_the_sampler_sees_scores_and_losses_only(store, tmp_path):
    class Spy(RandomSampler):
        seen = ()

        def propose(self, space, history, *, seed, number):
            Spy.seen = tuple(history)
            return super().propose(space, history, seed=seed, number=number)

    runner = SyntheticRunner(tmp_path, nan=lambda trial, epoch: trial.number == 2)
    make_study(store, runner, sampler=Spy(), ahead=1).run()
    assert [observation.score is None for observation in Spy.seen] == [False, True, False, False]
    assert not any(observation.pending for observation in Spy.seen)
    assert [o.candidate for o in Spy.seen] == [store.trial(n).candidate for n in (1, 2, 3, 4)]


# Faults of trials.


def test_diverging_candidates_never_end_the_study(store, tmp_path):
    runner = SyntheticRunner(
        tmp_path,
        nan=lambda trial, epoch: (trial.number, epoch) in [(2, 1), (7, 4)],
        faulty=lambda trial, epoch: (trial.number, epoch) == (3, 2),
    )
    events = []
    study = make_study(store, runner, candidates=8, rounds=Elimination(total=6, first=2))
    result = study.run(events.append)
    assert store.trial(2).state is store.trial(3).state is store.trial(7).state is State.DIVERGED
    assert store.trial(2).reason == "the validation loss is nan after epoch 1"
    assert store.trial(3).reason == "a weight is inf after epoch 2"
    assert store.trial(7).reason == "the validation loss is nan after epoch 4"
    assert (store.trial(2).epochs, store.trial(3).epochs, store.trial(7).epochs) == (0, 1, 3)
    assert [event.trial.number for event in events if isinstance(event, TrialLost)] == [2, 3, 7]
    assert result.best is not None
    assert Counter(s.trial.state for s in result.trials) == {
        "diverged": 3,
        "stopped": 3,
        "complete": 2,
    }
    assert not {2, 3} & {rung.trial for rung in store.rungs()}
    assert make_study(store, runner, candidates=8).run() == result


def test_spectra_that_cannot_be_compared(store, tmp_path):
    class Runner(SyntheticRunner):
        def spectrum(self, trial, epoch, part=0):
            record = super().spectrum(trial, epoch, part)
            exponents = np.full((2, 4), {1: np.nan, 2: -np.inf}.get(trial.number, -1.0))
            return replace(record, exponents=exponents)

    make_study(store, Runner(tmp_path)).run()
    assert store.trial(1).reason == "an exponent is nan after epoch 2"
    assert store.trial(2).reason == "the distance to the dense reference is inf after epoch 2"
    assert store.trial(3).state.ended
    assert not store.trial(3).state.lost


def test_a_candidate_without_a_score_is_lost_alone(store, runner):
    def own(measurements):
        return np.array([math.nan if m.number == 2 else m.number for m in measurements])

    study = make_study(store, runner, score="own", scores={**SCORES, "own": own})
    finishers = [s.trial.number for s in study.run().trials if s.trial.state is State.COMPLETE]
    assert finishers == [1, 3]
    assert store.trial(2).state is State.DIVERGED
    assert store.trial(2).reason == "the score own is nan after epoch 2"
    assert {score.value for score in store.scores() if score.name == "own"} == {1, 3, 4, 5}


def test_a_score_that_only_watches_may_say_nothing(store, runner):
    scores = {**SCORES, "own": lambda measurements: np.full(len(measurements), np.nan)}
    assert make_study(store, runner, scores=scores).run().best is not None
    assert {score.value for score in store.scores() if score.name == "own"} == {None}


def test_a_runner_may_give_a_trial_up(store, tmp_path):
    class Runner(SyntheticRunner):
        def run(self, trial, until, record):
            if trial.number == 3:
                raise TrialFault("no memory is left")
            super().run(trial, until, record)

    make_study(store, Runner(tmp_path)).run()
    assert store.trial(3).state is State.FAILED
    assert store.trial(3).reason == "no memory is left"


def test_all_candidates_diverge(store, tmp_path):
    runner = SyntheticRunner(tmp_path, nan=lambda trial, epoch: trial.number > 0)
    study = make_study(store, runner)
    message = (
        "one candidate at least must reach epoch 6, got none of 5; "
        "trial 1 diverged: the validation loss is nan after epoch 1"
    )
    for _ in range(2):
        with pytest.raises(NothingFinishedError, match=message):
            study.run()
    assert read_result(store).best is None


def test_finishers_diverge(store, tmp_path):
    runner = SyntheticRunner(tmp_path, nan=lambda trial, epoch: trial.number > 0 and epoch == 6)
    with pytest.raises(NothingFinishedError, match="the validation loss is nan after epoch 6"):
        make_study(store, runner).run()
    assert Counter(t.state for t in store.trials()) == {"complete": 1, "stopped": 3, "diverged": 2}


def test_the_reference_diverges(store, tmp_path):
    runner = SyntheticRunner(tmp_path, nan=lambda trial, epoch: epoch == 3)
    for _ in range(2):
        with pytest.raises(
            ReferenceLostError,
            match="the dense reference must train, but the validation loss is nan after epoch 3",
        ):
            make_study(store, runner).run()
    assert {number for number, _ in runner.trained} == {0}


def test_a_reference_lost_to_its_surroundings_is_tried_again_on_resume(store, tmp_path):
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    with Store(undisturbed / "study.db") as other:
        make_study(other, SyntheticRunner(undisturbed)).run()
        expected = everything(other)

    class Cramped(SyntheticRunner):
        fault = OutOfMemory("no memory is left")

        def run(self, trial, until, record):
            if trial.number == REFERENCE and until == 3:
                raise self.fault
            super().run(trial, until, record)

    runner = Cramped(tmp_path)
    message = "must train, but no memory is left; resume to try it again"
    with pytest.raises(ReferenceLostError, match=message):
        make_study(store, runner).run(retries=1)
    assert (store.trial(REFERENCE).state, store.trial(REFERENCE).retries) == ("out_of_memory", 1)
    runner.fault = TrialFault("a cable was loose")
    with pytest.raises(ReferenceLostError, match="a cable was loose; resume to try it again"):
        make_study(store, runner).run()
    assert (store.trial(REFERENCE).state, store.trial(REFERENCE).retries) == ("failed", 0)
    make_study(store, SyntheticRunner(tmp_path)).run()
    reference, *rest = everything(store)
    assert [(replace(reference[0], crash=""), *reference[1:]), *rest] == expected


def test_epochs_that_nobody_heard_of_come_from_the_checkpoint(store, tmp_path):
    class Unheard(Inline):
        """Trains a rung of a trial after its coordinator was lost."""

        def work(self, send):
            if self._job.trial.number != 1:
                return super().work(send)
            super().work(lambda message: None)
            raise KeyboardInterrupt

    rounds = Elimination(total=6, first=4)
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    with Store(undisturbed / "study.db") as other:
        make_study(other, SyntheticRunner(undisturbed), rounds=rounds).run()
        expected = everything(other)
    runner = SyntheticRunner(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        make_study(store, None, executor=Unheard(runner), rounds=rounds).run()
    assert store.trial(1).epochs == 0
    make_study(store, runner, rounds=rounds).run()
    assert everything(store) == expected
    assert max(Counter(runner.trained).values()) == 1


# Sizes.


def test_a_space_that_runs_out(store, runner):
    events = []
    result = make_study(store, runner, space=SMALL, candidates=10).run(events.append)
    assert PoolExhausted(asked=10, found=6) in events
    assert len(result.trials) == result.budget.candidates == 6
    assert make_study(store, runner, space=SMALL, candidates=10).run() == result


@pytest.mark.parametrize("candidates", [1, 2])
def test_pools_too_small_to_eliminate(store, runner, candidates):
    result = make_study(store, runner, candidates=candidates).run()
    assert [s.trial.state for s in result.trials] == ["complete"] * candidates
    assert store.rungs() == ()


def test_a_schedule_of_one_epoch(store, runner):
    result = make_study(store, runner, rounds=Elimination.spread(1)).run()
    assert {s.trial.state for s in result.trials} == {State.COMPLETE}


def test_a_grid(store, runner):
    make_study(store, runner, space=SMALL, sampler=GridSampler(), candidates=6).run()
    assert [trial.candidate for trial in store.trials()[1:]] == list(SMALL)


# Events.


def test_events_tell_what_is_stored(store, runner):
    events = []

    def check(event):
        events.append(event)
        if isinstance(event, EpochDone):
            assert store.epochs(event.trial.number)[-1] == event.record
        if isinstance(event, SpectrumDone):
            assert store.has_spectrum(event.trial.number, event.record.epoch)
        if isinstance(event, Eliminated):
            assert {store.trial(n).state for n in event.stopped} <= {State.STOPPED}

    study = make_study(store, runner)
    study.run(check)
    counts = Counter(type(event) for event in events)
    assert events[0] == StudyStarted(
        resumed=False, candidates=5, plan=Elimination(total=6, first=2).plan(5), total=6
    )
    assert counts[TrialProposed] == 5
    assert counts[EpochDone] == len(runner.trained)
    assert counts[SpectrumDone] == sum(len(store.spectra(t.number)) for t in store.trials())
    assert [len(e.kept) for e in events if isinstance(e, Eliminated)] == [3, 2]
    assert counts[TrialCompleted] == 3
    assert counts[TrialStarted] == 6 + 5 + 3 + 2
    events.clear()
    study.run(check)
    assert [type(event) for event in events] == [StudyStarted]
    assert events[0].resumed


def test_a_distance_that_waits_for_the_reference_is_told(store, runner):
    class ReferenceLast(Inline):
        """Two places; of two jobs the candidate's is done first."""

        jobs = ()

        @property
        def free(self):
            return 2 - len(self.jobs)

        def submit(self, job):
            self.jobs = (*self.jobs, job)

        def work(self, send):
            *rest, job = sorted(self.jobs, key=lambda job: job.trial.number)
            self.jobs = tuple(rest)
            super().submit(job)
            super().work(send)

    told = {}

    def note(event):
        if isinstance(event, SpectrumDone) and event.trial.number != REFERENCE:
            told.setdefault((event.trial.number, event.record.epoch), []).append(
                event.record.distance
            )

    make_study(store, runner, executor=ReferenceLast(runner), ahead=1).run(note)
    assert told[1, 2] == [None, store.distances(1)[2]]
    assert all(distances[-1] is not None for distances in told.values())


# Wrong use.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": 0}, "candidates must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"score": "accuracy"}, "score must be one of rank_mean, lyapunov, loss, got 'accuracy'"),
        ({"settings": {"search": 1}}, 'must leave the key "search" to the study'),
    ],
)
def test_bad_studies(store, runner, changes, message):
    with pytest.raises(ValueError, match=message):
        make_study(store, runner, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 8}, "search.seed is 7 there and 8 here$"),
        ({"score": "loss"}, 'search.score is "rank_mean" there and "loss" here$'),
        ({"rounds": Elimination(total=7, first=2)}, "search.rounds.total is 6 there and 7 here$"),
        ({"sampler": GridSampler()}, r'search.sampler is "RandomSampler\(\)" there and "GridSam'),
        ({"settings": {"data": "b"}}, 'configuration: data is absent there and "b" here$'),
    ],
)
def test_a_store_of_another_study(store, runner, changes, message):
    make_study(store, runner).run()
    before = everything(store)
    with pytest.raises(ConfigurationError, match=message):
        make_study(store, runner, **changes).run()
    assert everything(store) == before


def broken(runner_method):
    class Runner(SyntheticRunner):
        run = runner_method

    return Runner


def test_a_runner_that_stops_early(store, tmp_path):
    runner = broken(lambda self, trial, until, record: None)(tmp_path)
    with pytest.raises(ValueError, match="must record every epoch up to 1, got 0"):
        make_study(store, runner).run()


def test_a_runner_that_goes_too_far(store, tmp_path):
    def run(self, trial, until, record):
        SyntheticRunner.run(self, trial, until + 1, record)

    with pytest.raises(ValueError, match="must stop at epoch 1, got 2"):
        make_study(store, broken(run)(tmp_path)).run()


def test_a_spectrum_of_another_epoch(store, tmp_path):
    class Runner(SyntheticRunner):
        def spectrum(self, trial, epoch, part=0):
            return replace(super().spectrum(trial, epoch, part), epoch=epoch + 1)

    with pytest.raises(ValueError, match="a spectrum must be of epoch 1, got 2"):
        make_study(store, Runner(tmp_path)).run()


def test_a_clock_that_jumps_changes_nothing(store, runner, tmp_path, monkeypatch):
    make_study(store, runner).run()
    jumps = itertools.cycle((0.0, -1e8, 1e8, -5.0))
    monkeypatch.setattr(time, "time", lambda: 1.7e9 + next(jumps))
    monkeypatch.setattr(
        "lsh_native.search.store._now",
        lambda: datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="seconds"),
    )
    folder = tmp_path / "jumping"
    folder.mkdir()
    with Store(folder / "study.db") as jumping:
        make_study(jumping, SyntheticRunner(folder)).run(limits=Limits(seconds=60))
        assert jumping.finished
        assert everything(jumping) == everything(store)
