"""What scores were worth, on studies where that is known beforehand."""

import math

import numpy as np
import pytest
from synthetic_runner import SyntheticRunner, l2, make_study, quality

from lsh_native.search.errors import StudyError
from lsh_native.search.evidence import PARTS, RETESTS, read_evidence
from lsh_native.search.rounds import Full
from lsh_native.search.score import RECORDED, SCORES
from lsh_native.search.store import Store
from lsh_native.search.trial import REPEAT, State


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "study.db") as store:
        store._database.query("PRAGMA synchronous = OFF")
        yield store


def contrary(pool):
    return -SCORES["loss"](pool)


@pytest.fixture
def study(store, tmp_path):
    scores = {**SCORES, "contrary": contrary}
    return make_study(store, SyntheticRunner(tmp_path), candidates=14, scores=scores)


def test_evidence_must_wait_for_the_end(study):
    with pytest.raises(StudyError, match="must have finished before evidence is gathered"):
        study.gather_evidence(3)


def test_stopped_candidates_are_trained_to_the_end(study, store):
    before = study.run()
    evidence = study.gather_evidence(6)
    stopped = [t for t in store.trials() if t.state is State.STOPPED]
    assert len([t for t in stopped if t.epochs == 6]) == 6
    assert len(evidence.finals) == 8
    assert len(store.repeats()) == RETESTS + 1
    assert {t.state for t in store.repeats()} == {State.COMPLETE}
    for repeat in store.repeats():
        original = store.trial(repeat.number % REPEAT)
        assert (repeat.candidate, repeat.repeats) == (original.candidate, original.number)
        assert repeat.seed != original.seed
        for epoch in (2, 3, 4, 5, 6):
            assert all(store.has_spectrum(repeat.number, epoch, part) for part in PARTS)
    # The search and what it cost stay as they were.
    after = study.run()
    assert after.best == before.best
    assert after.budget.trial_epochs == before.budget.trial_epochs
    trained = sum(t.epochs for t in (*store.trials()[1:], *store.repeats()))
    assert after.budget.evidence_epochs == trained - before.budget.trial_epochs == evidence.epochs
    # The same again trains nothing; more adds to what is there.
    assert study.gather_evidence(6).finals == evidence.finals
    assert evidence.finals.items() <= study.gather_evidence(9).finals.items()


def test_good_and_bad_scores_are_told_apart(study, store):
    study.run()
    evidence = study.gather_evidence(12)
    rows = {row.name: row for row in evidence.scores if row.epoch == 2}
    assert rows["loss"].count == 14
    # Losses differ by the quality of a candidate and a little noise.
    assert rows["loss"].spearman.low > 0.8
    assert rows["loss"].kendall.value > 0.8
    assert rows["loss"].given_drop > 0.8
    assert rows["loss"].regret == 0
    assert rows["loss"].retest < 0.1
    assert rows["lyapunov"].spearman.low > 0.8
    assert 0 < rows["lyapunov"].tokens < 1
    assert 0 <= rows["lyapunov"].floor < 1
    assert rows["rank_mean"].retest is None
    replays = {replay.name: replay for replay in evidence.replays}
    best = min(evidence.finals, key=lambda n: quality(store.trial(n)))
    assert replays["loss"].picked == replays["lyapunov"].picked == best
    assert replays["loss"].regret == 0 < replays["random_elimination"].regret
    spent = [epochs for epochs, _ in replays["loss"].curve]
    assert spent == sorted(spent)
    assert evidence.chance[0] > evidence.chance[1] > 0
    assert "tells good candidates from bad ones, but no better than the loss" in evidence.verdict
    custom = read_evidence(store, scores={**SCORES, "contrary": contrary}, distance=l2)
    reversed_ = next(row for row in custom.scores if row.name == "contrary")
    assert reversed_.spearman.high < -0.9
    assert reversed_.regret > evidence.chance[0]
    assert next(r for r in custom.replays if r.name == "contrary").regret > 0


def test_a_contrary_score_gets_its_verdict(store, tmp_path):
    scores = {**SCORES, "contrary": contrary}
    study = make_study(
        store, SyntheticRunner(tmp_path), candidates=14, scores=scores, score="contrary"
    )
    study.run()
    verdict = study.gather_evidence(12).verdict
    assert verdict.startswith("On this task contrary cannot be told from chance: its rank corr")


def test_too_few_ends_say_nothing(study, store):
    study.run()
    assert read_evidence(store) is None
    verdict = study.gather_evidence(2).verdict
    assert verdict == (
        "Nothing can be said about any score: the end of 4 candidates is known, and at least 8 "
        "are needed."
    )


def test_no_number_of_the_evidence_is_nan(study):
    study.run()
    evidence = study.gather_evidence(5)
    for row in evidence.scores:
        assert not any(isinstance(v, float) and math.isnan(v) for v in vars(row).values())


def test_random_search_is_replayed_at_equal_epochs(study, store):
    study.run()
    evidence = study.gather_evidence(12)
    replays = {replay.name: replay for replay in evidence.replays}
    search = replays["random_search"]
    assert {r.curve[-1][0] for r in evidence.replays if r.curve and r is not search} == {
        evidence.spent
    }
    trained = evidence.spent // 6
    assert [epochs for epochs, _ in search.curve] == [6 * k for k in range(1, trained + 1)]
    finals = np.exp(sorted(evidence.finals.values()))
    generator = np.random.default_rng(0)
    best = [generator.permutation(finals)[:trained].min() for _ in range(20_000)]
    assert math.exp(search.curve[-1][1]) == pytest.approx(np.mean(best), rel=2e-3)
    assert search.regret == pytest.approx(np.mean(best) / finals[0] - 1, abs=2e-3)
    losses = [loss for _, loss in search.curve]
    assert losses == sorted(losses, reverse=True)
    # Who trains to the end knows the end: random search is no random elimination.
    assert search.regret < replays["random_elimination"].regret
    assert evidence.reference_epochs == 6


def test_full_training_tells_what_scores_are_worth(store, tmp_path):
    study = make_study(store, SyntheticRunner(tmp_path), rounds=Full(total=6), candidates=12)
    study.run()
    assert {(s.epoch, s.name) for s in store.scores()} == {
        (epoch, name) for epoch in (2, 4) for name in RECORDED
    }
    evidence = study.gather_evidence(1)
    assert {row.epoch for row in evidence.scores} == {2, 4}
    assert evidence.verdict.startswith("On this task rank_mean tells good candidates from bad")
    assert not evidence.eliminated
    # Nobody was stopped, so half and one are in the replay: 12 x 2 + 7 x 2 + 4 x 2 epochs.
    assert evidence.spent == 46
    assert next(r for r in evidence.replays if r.name == "random_elimination").regret > 0


def test_candidates_that_were_never_compared(store, tmp_path):
    study = make_study(store, SyntheticRunner(tmp_path), rounds=Full(total=1), candidates=9)
    study.run()
    evidence = study.gather_evidence(1)
    assert evidence.replays == evidence.scores == ()
    assert evidence.verdict == (
        "Nothing can be said about any score: candidates were not compared before their end."
    )


def test_every_seed_of_a_stopped_candidate_is_trained_to_the_end(store, tmp_path):
    study = make_study(store, SyntheticRunner(tmp_path), candidates=9, seeds=2)
    searched = study.run().budget
    evidence = study.gather_evidence(7)
    assert len(evidence.finals) == 9
    for number, final in evidence.finals.items():
        lowest = [min(e.valid_loss for e in store.epochs(number + REPEAT * k)) for k in range(2)]
        assert final == pytest.approx(np.mean(lowest))
    # What a score said in the search is what it is judged by.
    rows = {row.name: row for row in evidence.scores if row.epoch == 2}
    said = {s.trial: s.value for s in store.scores() if (s.epoch, s.name) == (2, "loss")}
    best = min(said, key=said.get)
    low = min(evidence.finals.values())
    assert rows["loss"].regret == pytest.approx(math.expm1(evidence.finals[best] - low))
    assert evidence.spent == searched.trial_epochs
    # A retest is one training more than the search's.
    assert {t.number // REPEAT for t in store.repeats() if t.repeats == 0} == {2}
