"""`lsh-native resume`: goes on with a search or a training that was stopped or killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lsh_native.cli.files import CONFIGURATION, OPTIONS, STORE
from lsh_native.cli.options import read_options
from lsh_native.cli.search import search
from lsh_native.cli.setup import RunningChanges, moved
from lsh_native.cli.train import train
from lsh_native.search.errors import StudyError

__all__ = ["resume"]

# Settings of a budget, which a study that has spent it must not find again.
_SPENT = ("max_epochs", "max_seconds")


def resume(
    folder: Path,
    evidence: int = 0,
    running: RunningChanges = RunningChanges(),  # noqa: B008 - frozen
) -> None:
    """Goes on with a search or a training that was stopped or killed.

    Args:
        folder: the folder of a study, or of one network that `train` trains.
        evidence: how many stopped candidates of a study are trained to the end after the search.
        running: where trials of a study run and what they may spend; what is not said is as it was
            when the search last ran, but for what it may spend.
    """
    if (folder / STORE).exists() and (folder / CONFIGURATION).exists():
        options = read_options(search, folder / CONFIGURATION)
        said, begun = running.said, options["running"]
        begun = moved(begun, said.get("executor", begun.executor))
        running = replace(begun, **{**dict.fromkeys(_SPENT), **said})
        search(**{**options, "output": folder, "evidence": evidence, "running": running})
    elif (folder / OPTIONS).exists():
        if evidence or running.said:
            raise ValueError(
                "evidence and running settings are a study's, got one network's folder"
            )
        train(**{**read_options(train, folder / OPTIONS), "output": folder})
    else:
        raise StudyError(
            f"{folder} must hold {STORE} and {CONFIGURATION} of a search or {OPTIONS} of a "
            "training, found no such study"
        )
