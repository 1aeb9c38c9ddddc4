"""Packages that not everybody needs, and the extra that brings each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

EXTRAS: Mapping[str, tuple[str, str]] = {
    "optuna": ("optuna", "Optuna"),
    "ray": ("ray", "Ray"),
    "slurm": ("submitit", "submitit"),
    "frame": ("pandas", "pandas"),
}
"""The package of each extra as Python imports it, and as people call it."""


def require(extra: str) -> None:
    """Refuse to go on without what an extra brings; nothing is imported.

    Raises:
        ValueError: If it is not installed; the message says what to install.
    """
    package, name = EXTRAS[extra]
    if find_spec(package) is None:
        raise ValueError(f"{name} must be installed: pip install 'lsh-native[{extra}]'")
