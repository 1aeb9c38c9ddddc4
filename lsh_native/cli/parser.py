"""The parser of a subcommand, from the signature and docstring of its function."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from jsonargparse import ArgumentParser

__all__ = ["make_parser"]


def make_parser(function: Callable[..., None]) -> ArgumentParser:
    """Makes the parser of one subcommand.

    One that takes a recipe takes its options from a TOML file too.
    """
    summary = (function.__doc__ or "").partition("\n")[0]
    parser = ArgumentParser(parser_mode="toml", description=summary, exit_on_error=False)
    parser.add_function_arguments(function, as_group=False, as_positional=True)
    if "recipe" in inspect.signature(function).parameters:
        parser.add_argument("--config", action="config", help="a TOML file with these options")
        # fields of the default family must not mix with those of another
        parser.set_defaults({"recipe.model": None})
    return parser
