"""The command `lsh-native`: parses, runs a subcommand, and says in one line what went wrong."""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from lsh_native.cli.parser import make_parser, takes_recipe
from lsh_native.search.errors import StoreError, StudyError

__all__ = ["main"]

# Each is the function of its name in the file of its name.
SUBCOMMANDS = (
    *("search", "resume", "evidence", "status", "cancel"),
    *("train", "evaluate", "generate", "spectrum"),
    *("report", "export", "doctor"),
)

# What a user can cause; anything else is a fault of the program and keeps its traceback.
_EXPECTED = (
    *(ValueError, TypeError, OSError, ArithmeticError, MemoryError),
    *(StoreError, StudyError),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: what follows the command's name; those of the process by default.

    Returns:
        Exit status: 0 done, 1 failed for the reason printed, 2 wrong usage, 130 interrupted.
    """
    parser = ArgumentParser(
        prog="lsh-native",
        parser_mode="toml",
        exit_on_error=False,
        allow_abbrev=False,  # a slip of the pen must not start a search
        description="Lyapunov-spectrum-based hyperpruning (LSH) of recurrent language models.",
    )
    given = sys.argv[1:] if arguments is None else arguments
    commands = parser.add_subcommands()
    functions = _functions(given)
    for name, function in functions.items():
        sub = make_parser(function)
        commands.add_subcommand(name, sub, help=sub.description)
    if not given:
        parser.print_help(sys.stderr)
        return 2
    try:
        parsed = parser.parse_args(_with_files(_with_recipe(given, functions)))
        name = parsed.subcommand
        options = parser.instantiate(parsed)[name]
        settings = {key: value for key, value in vars(options).items() if key != "config"}
    except (ArgumentError, *_EXPECTED) as error:
        return _fail(error, status=2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=FutureWarning)
            warnings.showwarning = _warn
            functions[name](**settings)
    except KeyboardInterrupt:
        print("\nlsh-native: interrupted; nothing stored is lost", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more
        return 1
    except _EXPECTED as error:
        return _fail(error, status=1)
    return 0


def _functions(arguments: Sequence[str]) -> dict[str, Callable[..., None]]:
    """The subcommand that is named, as importing all takes seconds; where none is, all."""
    named = arguments[:1] if arguments and arguments[0] in SUBCOMMANDS else SUBCOMMANDS
    return {name: getattr(import_module(f"lsh_native.cli.{name}"), name) for name in named}


def _with_recipe(
    arguments: Sequence[str], functions: Mapping[str, Callable[..., None]]
) -> list[str]:
    """`train recipe.toml …` as `train --config recipe.toml …`, which parsers know only so."""
    command, *rest = arguments
    function = functions.get(command)
    if function is None or not takes_recipe(function) or not rest or rest[0].startswith("-"):
        return list(arguments)
    return [command, "--config", *rest]


def _with_files(arguments: list[str]) -> list[str]:
    """The same arguments, unless a file of options is not there: its name would be read as TOML."""
    for option, following in pairwise([*arguments, "."]):
        name, _, value = option.partition("=")
        path = value or following
        if name == "--config" and not Path(path).exists():
            raise ValueError(f"config must be a TOML file, got nothing there: {path}")
    return arguments


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as a line for who uses the command, without the place in our code."""
    print(f"lsh-native: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(error: BaseException, status: int) -> int:
    if os.environ.get("LSH_TRACEBACK"):
        traceback.print_exception(error)
    text = _of_option(" ".join(str(error).split())) or type(error).__name__
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    print(f"lsh-native: error: {text}", file=sys.stderr)
    return status


def _of_option(text: str) -> str:
    """What jsonargparse says of an option's value in the words of our own errors; else the text."""
    key = re.match(r'Parser key "([^"]+)"(?: element \d+)?: ', text)
    value = re.search(r"(?:Got value|Given value): (.*)$", text)
    wanted = re.findall(r"Expected a (?:typing\.Literal\[([^\]]*)\]|<class '(\w+)'>)", text)
    kinds = [
        f"one of {names.replace(chr(39), '')}" if names else _KINDS.get(kind, "")
        for names, kind in wanted
        if kind != "NoneType"
    ]
    if not key or not value or len(kinds) != 1 or not kinds[0]:
        return text
    return f"{key[1]} must be {kinds[0]}, got {value[1]}"


_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "tuple": "a list"}

if __name__ == "__main__":
    sys.exit(main())
