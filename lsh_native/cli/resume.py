"""`lsh-native resume`: goes on with a study that was stopped or killed."""

from __future__ import annotations

import json
from pathlib import Path

from lsh_native.cli.search import CONFIGURATION, STORE, search
from lsh_native.cli.setup import RunningSettings
from lsh_native.search.errors import StudyError

__all__ = ["resume"]


def resume(
    study: Path,
    evidence: int = 0,
    running: RunningSettings = RunningSettings(),  # noqa: B008 - frozen
) -> None:
    """Goes on with a study where it was stopped or killed; nothing trained is trained again.

    Args:
        study: the study's folder.
        evidence: how many stopped candidates are trained to the end after the search.
        running: where trials run and what they may spend.
    """
    from lsh_native.cli.main import subcommand_parser

    if not (study / STORE).exists() or not (study / CONFIGURATION).exists():
        raise StudyError(
            f"{study} must hold {STORE} and {CONFIGURATION} of a search, found no such study"
        )
    parser = subcommand_parser("search")
    parsed = parser.parse_object(json.loads((study / CONFIGURATION).read_text(encoding="utf-8")))
    options = {
        name: value for name, value in vars(parser.instantiate(parsed)).items() if name != "config"
    }
    search(**{**options, "output": study, "evidence": evidence, "running": running})
