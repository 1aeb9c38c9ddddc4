"""`lsh-native resume`: goes on with a search or a training that was stopped or killed."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lsh_native.cli.options import read_options
from lsh_native.cli.search import CONFIGURATION, STORE, search
from lsh_native.cli.setup import RunningSettings
from lsh_native.cli.train import OPTIONS, train
from lsh_native.search.errors import StudyError

__all__ = ["resume"]

# Settings of a budget, which a study that has spent it must not find again.
_SPENT = ("max_epochs", "max_seconds")


def resume(
    folder: Path,
    evidence: int = 0,
    running: RunningSettings = RunningSettings(),  # noqa: B008 - frozen
) -> None:
    """Goes on with a search or a training that was stopped or killed.

    Args:
        folder: the folder of a study, or of one network that `train` trains.
        evidence: how many stopped candidates of a study are trained to the end after the search.
        running: where trials of a study run and what they may spend; what is not said is as it was
            when the search was begun, but for what it may spend.
    """
    if (folder / STORE).exists() and (folder / CONFIGURATION).exists():
        options = read_options(search, folder / CONFIGURATION)
        said, begun = _said(running), options["running"]
        if said.get("executor", begun.executor) != begun.executor:
            begun = replace(begun, address=None)  # of the executor that is left
        running = replace(begun, **{**dict.fromkeys(_SPENT), **said})
        search(**{**options, "output": folder, "evidence": evidence, "running": running})
    elif (folder / OPTIONS).exists():
        if evidence or _said(running):
            raise ValueError(
                "evidence and running settings are a study's, got one network's folder"
            )
        train(**{**read_options(train, folder / OPTIONS), "output": folder})
    else:
        raise StudyError(
            f"{folder} must hold {STORE} and {CONFIGURATION} of a search or {OPTIONS} of a "
            "training, found no such study"
        )


def _said(running: RunningSettings) -> dict[str, Any]:
    """The settings that are not the defaults."""
    default = asdict(RunningSettings())
    return {name: value for name, value in asdict(running).items() if value != default[name]}
