"""The options of a command in a file beside what it makes, for `resume`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from lsh_native.cli.parser import make_parser
from lsh_native.training import Recipe

__all__ = ["keep_options", "read_options"]


def keep_options(options: Mapping[str, Any], path: Path, *, without: tuple[str, ...]) -> None:
    """Writes the options of a command as JSON, unless the file is there.

    Args:
        options: the arguments of the command's function.
        path: the file.
        without: options that are not kept.
    """
    if path.exists():
        return
    plain = {name: _plain(value) for name, value in options.items() if name not in without}
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read_options(function: Callable[..., None], path: Path) -> dict[str, Any]:
    """The arguments of a command's function from what `keep_options` wrote."""
    parser = make_parser(function)
    parsed = parser.parse_object(json.loads(path.read_text(encoding="utf-8")))
    options = vars(parser.instantiate(parsed))
    return {name: value for name, value in options.items() if name != "config"}


def _plain(value: Any) -> Any:
    if isinstance(value, Recipe):
        return value.to_dict()
    if isinstance(value, Path):
        return str(value.resolve())
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
