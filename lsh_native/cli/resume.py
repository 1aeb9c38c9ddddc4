"""`lsh-native resume`: goes on with a study that was stopped or killed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lsh_native.cli.parser import make_parser
from lsh_native.cli.search import CONFIGURATION, STORE, search
from lsh_native.cli.setup import RunningSettings
from lsh_native.search.errors import StudyError

__all__ = ["resume"]

# Settings of a budget, which a study that has spent it must not find again.
_SPENT = ("max_epochs", "max_seconds")


def resume(
    study: Path,
    evidence: int = 0,
    running: RunningSettings = RunningSettings(),  # noqa: B008 - frozen
) -> None:
    """Goes on with a study where it was stopped or killed; nothing trained is trained again.

    Args:
        study: the study's folder.
        evidence: how many stopped candidates are trained to the end after the search.
        running: where trials run and what they may spend; what is not said is as it was when the
            search was begun, but for what it may spend.
    """
    if not (study / STORE).exists() or not (study / CONFIGURATION).exists():
        raise StudyError(
            f"{study} must hold {STORE} and {CONFIGURATION} of a search, found no such study"
        )
    parser = make_parser(search)
    parsed = parser.parse_object(json.loads((study / CONFIGURATION).read_text(encoding="utf-8")))
    options = {
        name: value for name, value in vars(parser.instantiate(parsed)).items() if name != "config"
    }
    running = replace(options["running"], **{**dict.fromkeys(_SPENT), **_said(running)})
    search(**{**options, "output": study, "evidence": evidence, "running": running})


def _said(running: RunningSettings) -> dict[str, Any]:
    """The settings that are not the defaults."""
    default = asdict(RunningSettings())
    return {name: value for name, value in asdict(running).items() if value != default[name]}
