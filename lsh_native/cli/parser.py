"""The parser of a subcommand, from the signature and docstring of its function."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from jsonargparse import ArgumentParser

__all__ = ["make_parser", "takes_recipe"]


def takes_recipe(function: Callable[..., None]) -> bool:
    """Whether a subcommand has a recipe among its options."""
    return "recipe" in inspect.signature(function).parameters


def make_parser(function: Callable[..., None]) -> ArgumentParser:
    """Makes the parser of one subcommand.

    One that takes a recipe takes its options from a TOML file too.
    """
    summary = (function.__doc__ or "").partition("\n")[0]
    parser = ArgumentParser(
        parser_mode="toml", description=summary, exit_on_error=False, print_config=None
    )
    parser.add_function_arguments(function, as_group=False, as_positional=True)
    for action in parser._actions:  # a switch may stand alone: --watch for --watch true
        if getattr(action, "_typehint", None) is bool:
            action.nargs, action.const = "?", True
        if not action.option_strings and getattr(action, "_typehint", None) == list[int]:
            # numbers one after the other, not as the text of a list; there is no public way
            action.nargs, action.metavar = "+", action.dest
            action._typehint = int  # type: ignore[attr-defined]
    if takes_recipe(function):
        about = "a TOML file with these options; the name alone right after the command will do"
        parser.add_argument("--config", action="config", help=about)
        # fields of the default family must not mix with those of another
        parser.set_defaults({"recipe.model": None})
    return parser
