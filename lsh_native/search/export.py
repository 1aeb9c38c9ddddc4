"""A study in the forms that other tools read: CSV, JSON lines, a DataFrame, an Optuna storage."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsh_native.search.candidate import Candidate, Value
from lsh_native.search.extras import require
from lsh_native.search.store import Store
from lsh_native.search.trial import DETAILS, State, Trial
from lsh_native.training import replace_file

if TYPE_CHECKING:
    import pandas


def trial_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield a row a trial, repeats among them: what it is, how far it came and what it measured."""
    for trial in (*store.trials(), *store.repeats()):
        epochs = store.epochs(trial.number)
        distances = store.distances(trial.number)
        best = min(epochs, key=lambda e: e.valid_loss, default=None)
        yield {
            "trial": trial.number,
            "kind": trial.kind,
            "state": str(trial.state),
            "reason": trial.reason,
            "seed": trial.seed,
            "repeats": trial.repeats,
            "retries": trial.retries,
            "crash": trial.crash,
            "host": trial.host,
            "created": trial.created,
            "started": trial.started,
            "ended": trial.ended,
            **({} if trial.candidate is None else trial.candidate.to_dict()),
            "epochs": trial.epochs,
            "best_epoch": best.epoch if best else None,
            "valid_loss": best.valid_loss if best else None,
            "density_reached": epochs[-1].density if epochs else None,
            **_measured(epochs[-1].details if epochs else {}),
            "distance": distances[max(distances)] if distances else None,
            "seconds": sum(epoch.seconds for epoch in epochs),
        }


def epoch_rows(store: Store) -> Iterator[dict[str, Any]]:
    """Yield a row for each epoch of each trial, with distance, scores and details where taken."""
    scores: dict[tuple[int, int], dict[str, float | None]] = {}
    for score in store.scores():
        scores.setdefault((score.trial, score.epoch), {})[f"score_{score.name}"] = score.value
    for trial in (*store.trials(), *store.repeats()):
        distances = store.distances(trial.number)
        for record in store.epochs(trial.number):
            yield {
                "trial": trial.number,
                "epoch": record.epoch,
                "train_loss": record.train_loss,
                "valid_loss": record.valid_loss,
                "density": record.density,
                "tokens": record.tokens,
                "seconds": record.seconds,
                "distance": distances.get(record.epoch),
                **_measured(record.details),
                **scores.get((trial.number, record.epoch), {}),
            }


def _measured(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an epoch measured beside its losses, the densities by matrix."""
    densities = details.get("densities", {})
    return {
        **{name: details.get(name) for name in DETAILS},
        **{f"density_{matrix}": share for matrix, share in densities.items()},
    }


ROWS = {"trials": trial_rows, "epochs": epoch_rows}
"""What can be exported, by name."""


def write_csv(store: Store, path: Path, what: str = "trials") -> Path:
    """Write rows as CSV, a column for every key that occurs; an absent value is empty."""
    rows = list(ROWS[what](store))
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    replace_file(path, text.getvalue().encode())
    return path


def write_jsonl(store: Store, path: Path, what: str = "trials") -> Path:
    """Write rows as JSON, one a line."""
    lines = [json.dumps(row, allow_nan=False) + "\n" for row in ROWS[what](store)]
    replace_file(path, "".join(lines).encode())
    return path


def to_frame(store: Store, what: str = "trials") -> pandas.DataFrame:
    """Return rows as a DataFrame.

    Raises:
        ValueError: If pandas is not installed.
    """
    require("frame")
    import pandas

    return pandas.DataFrame(list(ROWS[what](store)))


def write_optuna(store: Store, path: Path, name: str = "lsh") -> Path:
    """Write the candidates into an SQLite storage of Optuna's, which `optuna-dashboard` shows.

    The value of a trial is its best validation loss; losses of its epochs are intermediate values,
    distances and what else was measured user attributes.

    Raises:
        ValueError: If Optuna is not installed, the file is of another program, or the storage holds
            a study of that name.
        OSError: If the file cannot be opened.
    """
    require("optuna")
    import optuna

    with path.open("a+b") as file:  # what Optuna would raise is of yet another package
        file.seek(0)
        if file.read(16) not in (b"", b"SQLite format 3\0"):
            raise ValueError(f"{path} must be a new file or one of SQLite, got another")
    try:
        study = optuna.create_study(storage=f"sqlite:///{path}", study_name=name)
    except optuna.exceptions.DuplicatedStudyError:
        raise ValueError(f"{path} must hold no study {name}, got one: name another file") from None
    study.set_user_attr("source", str(store.path))
    trials = [trial for trial in store.trials() if trial.candidate is not None]
    spread = _distributions([trial.candidate for trial in trials if trial.candidate])
    study.add_trials([_optuna_trial(store, trial, spread) for trial in trials])
    return path


def _distributions(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """Return a distribution of Optuna's for each parameter: all that occurs of it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    values: dict[str, list[Value]] = {}
    for candidate in candidates:
        for name, value in candidate.to_dict().items():
            values.setdefault(name, []).append(value)
    found: dict[str, Any] = {}
    for name, own in values.items():
        numbers = [value for value in own if isinstance(value, float)]
        if len(numbers) == len(own):
            found[name] = FloatDistribution(min(numbers), max(numbers))
        else:
            found[name] = CategoricalDistribution(sorted(set(own), key=str))
    return found


def _optuna_trial(store: Store, trial: Trial, spread: Mapping[str, Any]) -> Any:
    import optuna

    assert trial.candidate is not None
    parameters = trial.candidate.to_dict()
    epochs, distances = store.epochs(trial.number), store.distances(trial.number)
    states = optuna.trial.TrialState
    state = {
        State.COMPLETE: states.COMPLETE,
        State.STOPPED: states.PRUNED,  # Optuna's word for a trial that was stopped
        State.WAITING: states.WAITING,
        State.RUNNING: states.RUNNING,
    }.get(trial.state, states.FAIL)
    best = min((epoch.valid_loss for epoch in epochs), default=None)
    return optuna.trial.create_trial(
        state=state if best is not None or state is not states.PRUNED else states.FAIL,
        params=parameters,
        distributions={name: spread[name] for name in parameters},
        value=best if state in (states.COMPLETE, states.PRUNED) else None,
        intermediate_values={epoch.epoch: epoch.valid_loss for epoch in epochs},
        user_attrs={
            "trial": trial.number,
            "reason": trial.reason,
            "distances": {str(epoch): value for epoch, value in distances.items()},
            **_measured(epochs[-1].details if epochs else {}),
        },
    )
