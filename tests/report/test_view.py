"""What is known of a study at any moment: roles, order, status, caveats."""

import math

import numpy as np
import pytest
from synthetic_runner import make_study

from lsh_native.report.view import Role, layers_of, view_study
from lsh_native.search.constraint import Constraint
from lsh_native.search.interval import Interval
from lsh_native.search.rounds import Elimination, Full
from lsh_native.search.sampler import GridSampler
from lsh_native.search.score import SCORES
from lsh_native.search.space import Space
from lsh_native.search.trial import SpectrumRecord

DENSE = "Candidates that start with more connections than they keep"
LARGER = {"candidates": 12, "rounds": Elimination(total=9, first=3)}


def test_roles(store, run):
    run(nan=lambda trial, epoch: trial.number == 4, **LARGER)
    view = view_study(store)
    roles = {s.trial.number: view.role(s.trial) for s in view.summaries}
    assert roles[0] is Role.DENSE
    assert roles[4] is Role.LOST
    assert list(roles.values()).count(Role.FOUND) == 1
    assert list(roles.values()).count(Role.FINISHED) == 1
    assert roles[view.result.best.trial.number] is Role.FOUND
    order = [view.role(s.trial) for s in view.by_survival()]
    assert order[:3] == [Role.DENSE, Role.FOUND, Role.FINISHED]
    assert order[-1] is Role.LOST
    assert set(order[3:-1]) == {Role.STOPPED}


def test_the_order_of_training_is_recovered(store, run):
    runner = run(**LARGER)
    trained = [(number, epoch) for number, epoch in runner.trained if number]
    assert [(number, record.epoch) for number, record in view_study(store).in_order()] == trained


@pytest.mark.parametrize("events", range(3, 70, 9))
def test_the_order_of_training_is_recovered_after_a_kill(store, run, events):
    runner = run(events=events)
    trained = [(number, epoch) for number, epoch in runner.trained if number]
    assert [(number, record.epoch) for number, record in view_study(store).in_order()] == trained


def test_nobody_is_found_before_the_end(store, run):
    for events in (30, 20):
        run(events=events)
        view = view_study(store)
        assert not view.finished
        assert Role.FOUND not in {view.role(s.trial) for s in view.summaries}


def test_status_of_a_study_from_its_first_moment_to_its_last(store, run):
    assert view_study(store).status() == "The study has not started."
    seen = [view_study(store).status()]
    while not view_study(store).finished:
        run(events=6)
        seen.append(view_study(store).status())
    stages = list(dict.fromkeys(seen))
    assert stages[1] == (
        "The study is not finished: 4 of 5 candidates have been proposed, 0 of them have ended."
    )
    assert (
        "The study is not finished: 5 of 5 candidates have been proposed, 2 of them have ended."
        in stages
    )
    assert stages[-1] == "2 of 5 candidates were trained to the end."


def test_status_without_a_result(store, run):
    run(nan=lambda trial, epoch: trial.number > 0)
    view = view_study(store)
    assert view.status() == "The study has no result: none of its 5 candidates reached the end."
    assert list(view.warnings()) == [
        "Candidates 1, 2, 3, 4, 5 diverged: the validation loss is nan after epoch 1."
    ]
    assert view.best_so_far() == ""


def test_status_without_a_reference(store, run):
    run(nan=lambda trial, epoch: epoch == 2)
    view = view_study(store)
    assert view.status().startswith("The dense reference diverged")
    assert next(view.warnings()).startswith("The dense reference diverged: the validation loss")


def test_the_best_so_far(store, run):
    run(events=40)
    view = view_study(store)
    lowest = min(r.valid_loss for number in (1, 2, 3) for r in view.epochs.get(number, ()))
    assert f"so far is {math.exp(lowest):.1f}, of candidate" in view.best_so_far()


def test_caveats_of_a_finished_study(store, run):
    space = Space(initial=("uniform",), drop=("set",), redistribute=("none",))
    run(space=space, sampler=GridSampler(), candidates=9)
    caveats = list(view_study(store).warnings())
    assert caveats[0] == "9 candidates were asked for, but the space holds only 6."
    assert "trained once" in caveats[1]


def test_how_often_networks_were_trained(store, run):
    run(seeds=3)
    assert list(view_study(store).warnings()) == [
        "Every candidate was trained 3 times and is judged by the mean; what is shown of one "
        "network is of its first training."
    ]


def test_finishers_stand_in_the_order_they_are_judged_by(store, run):
    run(seeds=3, rounds=Full(total=6), candidates=7)
    view = view_study(store)
    assert view.finishers[0] == view.result.best
    losses = [summary.loss for summary in view.finishers]
    assert losses == sorted(losses)


def test_why_a_trial_was_begun_anew(store, run):
    run()
    store.retry_trial(2, "its process crashed with SIGSEGV")
    assert (
        "Trial 2 was begun anew once, last because its process crashed with SIGSEGV."
        in view_study(store).warnings()
    )


def test_the_order_of_full_training_is_recovered(store, run):
    runner = run(rounds=Full(total=6))
    trained = [(number, epoch) for number, epoch in runner.trained if number]
    assert [(number, record.epoch) for number, record in view_study(store).in_order()] == trained


def test_a_missed_target_and_who_was_cancelled(store, run):
    constraints = (Constraint(name="non_zeros", at_most=5),)
    run(constraints=constraints)
    store.cancel([store.rungs()[-1].trial])
    caveats = list(view_study(store).warnings())
    assert "cancelled: it was taken out by hand" in caveats[0]
    assert "at most 5 non-zeros were asked for, the network found was not measured" in caveats[1]


def test_dense_and_sparse_starts_are_not_to_be_compared(store, run):
    mixed = Space(method=("one_shot", "static"))
    run(space=mixed, sampler=GridSampler(), candidates=3)
    (caveat,) = (each for each in view_study(store).warnings() if DENSE in each)
    assert f"{DENSE} (one shot) stand beside others that do not (static)." in caveat
    assert "rank_mean goes by them" in caveat


def test_nothing_to_warn_of_where_the_loss_decides(store, run):
    mixed = Space(method=("gradual_magnitude", "static"))
    run(space=mixed, sampler=GridSampler(), candidates=3, score="loss")
    assert not any(DENSE in caveat for caveat in view_study(store).warnings())


def test_inserted_candidates_are_not_of_the_pool(store, run):
    run(candidates=6, rounds=Elimination(total=9, first=3, insertions=2), events=75)
    status = view_study(store).status()
    assert "6 of 6 candidates have been proposed and 2 inserted near the best" in status


def own_score(pool):
    return [measurement.epochs[-1].valid_loss for measurement in pool]


@pytest.mark.parametrize("name", ["mine", f"{__name__}:own_score"])
def test_a_score_of_ones_own_is_judged(store, run, tmp_path, name):
    scores = {"loss": SCORES["loss"], name: own_score}
    space = Space(method=("static", "rigl"), learning_rate=Interval(low=1, high=9))
    runner = run(space=space, candidates=12, score=name, scores=scores)
    make_study(
        store, runner, space=space, candidates=12, score=name, scores=scores
    ).gather_evidence(9)
    judged = view_study(store, {name: own_score} if name == "mine" else None)
    assert not judged.unjudged
    assert {row.name for row in judged.evidence.scores} >= {name, "loss"}
    assert "no spread" not in judged.evidence.verdict
    if name == "mine":
        assert view_study(store).unjudged == ("mine",)
        assert any("The evidence leaves out mine" in each for each in view_study(store).warnings())


def test_layers_of_a_spectrum():
    def layers(exponents, **conventions):
        record = SpectrumRecord(epoch=1, exponents=exponents, conventions=conventions)
        return [layer.tolist() for layer in layers_of(record, record.exponents)]

    five = np.arange(5.0)
    assert layers(five, layer_sizes=[2, 3]) == [[0, 1], [2, 3, 4]]
    assert layers(five, layer_sizes=[2, 2]) == [[0, 1, 2, 3, 4]]
    assert layers(five) == [[0, 1, 2, 3, 4]]
    assert layers(np.arange(4.0).reshape(2, 2)) == [[0, 1], [2, 3]]
