"""Who may import whom: the layers of docs/architecture.md as data, and a reader of imports."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lsh_native"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

# A package imports only from lines above its own; packages on one line do not know each other.
LAYERS = (
    ("native",),
    ("sparsity",),
    ("cells",),
    ("nn",),
    ("data", "models", "pruning", "lyapunov"),
    ("training",),
    ("search",),
    ("report",),
    ("cli",),
)
LINE = {package: line for line, packages in enumerate(LAYERS) for package in packages}

# Where a module from outside enters: files and folders ("cli/"); nowhere where there is none.
ENTRANCES = {
    "lsh_native._native": ("native.py", "pruning/lattice/"),
    "bayes_opt": ("search/sampler.py",),
    "optuna": ("search/optuna_sampler.py", "search/export.py"),
    "ray": ("search/executors/ray.py",),
    "submitit": ("search/executors/slurm.py",),
    "pandas": ("search/export.py",),
    "scipy": ("search/agreement.py", "search/sampler.py", "search/score.py"),
    "matplotlib": ("report/plots/",),
    "safetensors": ("training/checkpoint.py",),
    "sqlite3": ("search/database.py",),
    "sklearn": ("data/images.py", "search/sampler.py"),
    "jsonargparse": ("cli/",),
    "rich": ("cli/",),
    "torch.ops.lsh": ("cells/", "sparsity/", "lyapunov/qr_growth.py"),
    "pickle": (),
}

pytestmark = pytest.mark.skipif(
    not (PACKAGE.is_dir() and ARCHITECTURE.is_file()), reason="needs the source tree"
)


def package_of(path: Path) -> str:
    """The name in the layer list of a file given relative to lsh_native/; "" for its root."""
    name = path.parts[0].removesuffix(".py")
    return {"__init__": "", "__main__": "cli"}.get(name, name)


def imported(source: str, path: Path) -> Iterator[str]:
    """Dotted names of all that a file uses from elsewhere, wherever in the file it says so."""
    here = ("lsh_native", *path.parent.parts)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else ()
            origin = ".".join((*above, *filter(None, [node.module])))
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.ops.lsh":
            yield "torch.ops.lsh"


def violations(source: str, path: Path) -> list[str]:
    """What a file, given relative to lsh_native/, imports though it must not."""
    return [
        message
        for name in sorted(set(imported(source, path)))
        for message in (*_layer_violation(name, path), *_entrance_violation(name, path))
    ]


def _layer_violation(name: str, path: Path) -> Iterator[str]:
    package = package_of(path)
    root, _, rest = name.partition(".")
    origin = rest.partition(".")[0]
    if root != "lsh_native" or not package or origin in (package, "_native"):
        return
    if origin not in LINE:
        yield f"{path} must import from the package that defines it, got {name}"
    elif LINE[origin] >= LINE[package]:
        yield f"{path} must import only from lines above {package}, got {name}"


def _entrance_violation(name: str, path: Path) -> Iterator[str]:
    for module, entrances in ENTRANCES.items():
        if f"{name}.".startswith(f"{module}.") and not any(
            path.as_posix().startswith(entrance) for entrance in entrances
        ):
            yield f"{module} must enter at {' or '.join(entrances) or 'no file'}, got it in {path}"


def files() -> list[Path]:
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def test_every_file_keeps_to_its_layer():
    found = [
        message
        for path in files()
        for message in violations((PACKAGE / path).read_text(encoding="utf-8"), path)
    ]
    assert not found, "\n".join(found)


def test_every_package_stands_in_the_list():
    assert {package_of(path) for path in files()} - {""} <= set(LINE)


def test_no_file_is_a_drawer():
    drawers = {"utils", "util", "helpers", "misc", "common", "manager"}
    assert not [str(path) for path in files() if drawers & {path.stem, *path.parent.parts}]


def test_architecture_shows_the_same_layers():
    listed = re.findall(r"^(\d+)  (\S.*)$", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number, _ in listed] == list(range(len(LAYERS)))
    assert tuple(tuple(packages.split(" · ")) for _, packages in listed) == LAYERS


def test_architecture_shows_the_same_entrances():
    text = ARCHITECTURE.read_text(encoding="utf-8")
    (sentence,) = re.findall(r"enter at named files:[^.]*(?:\.\w[^.]*)*\.", text)
    shown = {
        name: set(re.findall(r"`([\w/.]+)`", places))
        for names, places in re.findall(
            r"((?:`\w+`(?: and )?)+)\s+(?:at|in)\s+((?:`\w+/[\w/.]*`(?:,\s|\sand\s)?)+)", sentence
        )
        for name in re.findall(r"`(\w+)`", names)
    }
    outside = ENTRANCES.keys() - {"lsh_native._native", "torch.ops.lsh", "pickle"}
    assert shown == {name: set(ENTRANCES[name]) for name in outside}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cells/lstm.py", "from lsh_native.sparsity.pattern import Pattern"),
        ("cells/lstm.py", "from lsh_native.cells.cell import Cell"),
        ("cells/lstm.py", "from .cell import Cell"),
        ("cells/lstm.py", "from ..sparsity import masks"),
        ("cells/lstm.py", "import lsh_native.native"),
        ("cells/recurrent.py", "import torch\ntorch.ops.lsh.lstm_forward()"),
        ("native.py", "from lsh_native import _native"),
        ("native.py", "import torch\ntorch.ops.load_library('x')"),
        ("__init__.py", "from lsh_native.cli.main import main"),
        ("search/sampler.py", "from bayes_opt import BayesianOptimization"),
        ("cli/doctor.py", "import rich.table"),
        ("cli/doctor.py", "import richer"),
    ],
)
def test_allowed(path, source):
    assert violations(source, Path(path)) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sparsity/masks.py", "from lsh_native.cells import lstm"),
        ("sparsity/masks.py", "from lsh_native import cells"),
        ("sparsity/masks.py", "from .. import cells"),
        ("sparsity/masks.py", "from ..cells.lstm import LSTM"),
        ("sparsity/masks.py", "import lsh_native.cells.lstm as lstm"),
        ("sparsity/masks.py", "def f():\n    from lsh_native.nn import SparseLSTM"),
        ("sparsity/masks.py", "if TYPE_CHECKING:\n    from lsh_native.nn import SparseLSTM"),
        ("sparsity/masks.py", "from lsh_native import SparseLSTM"),
        ("sparsity/masks.py", "import lsh_native"),
        ("data/corpus.py", "from lsh_native.pruning import method"),
        ("native.py", "from lsh_native.sparsity import masks"),
        ("search/study.py", "import bayes_opt"),
        ("search/store.py", "import sqlite3"),
        ("training/trainer.py", "from matplotlib import pyplot"),
        ("report/tables.py", "from matplotlib.figure import Figure"),
        ("report/html.py", "from rich.table import Table"),
        ("training/checkpoint.py", "import pickle"),
        ("sparsity/masks.py", "from lsh_native import _native"),
        ("training/trainer.py", "import torch\ntorch.ops.lsh.lstm_forward()"),
        ("training/trainer.py", "from torch.ops.lsh import lstm_forward"),
    ],
)
def test_forbidden(path, source):
    assert len(violations(source, Path(path))) == 1
