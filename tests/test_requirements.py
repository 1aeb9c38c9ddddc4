"""The requirement files repeat pyproject.toml: the same packages with the same bounds."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "pyproject.toml"

# Named by the requirement files alone: the pin, and what pip would fetch for an isolated build.
PINNED = "torch"
BUILD_TOOLS = {"cmake", "ninja"}

pytestmark = pytest.mark.skipif(
    not (ROOT / "requirements.txt").is_file(), reason="needs the source tree"
)


def listed(file: str) -> dict[str, Requirement]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and line[0] not in "#-"]
    return {requirement.name: requirement for requirement in requirements}


def project() -> dict:
    return tomllib.loads(PROJECT.read_text(encoding="utf-8"))


def by_name(requirements: list[str]) -> dict[str, Requirement]:
    return {requirement.name: requirement for requirement in map(Requirement, requirements)}


def test_what_builds_and_runs_is_what_the_project_declares():
    declared = by_name(project()["build-system"]["requires"] + project()["project"]["dependencies"])
    required = listed("requirements.txt")
    assert set(required) - BUILD_TOOLS == set(declared)
    for name in set(declared) - {PINNED}:
        assert required[name].specifier == declared[name].specifier, name


def test_the_pin_lies_within_every_bound():
    (pin,) = listed("requirements.txt")[PINNED].specifier
    assert pin.operator == "=="
    extras = project()["project"]["optional-dependencies"]
    for group in (
        project()["build-system"]["requires"],
        project()["project"]["dependencies"],
        extras["dev"],
    ):
        assert by_name(group)[PINNED].specifier.contains(pin.version)


def test_what_tests_need_is_what_the_project_declares():
    extras = project()["project"]["optional-dependencies"]
    required = listed("requirements-dev.txt")
    used = by_name(extras["test"]) | by_name(extras["onnx"])
    for name, declared in used.items():
        assert required[name].specifier == declared.specifier, name
    checks = by_name(extras["dev"])
    assert checks.pop("lsh-native").extras == {"onnx", "test"}
    assert set(required) == set(checks) - {PINNED} | set(used)


def test_every_extra_is_listed_for_the_tests_that_need_it():
    extras = project()["project"]["optional-dependencies"]
    declared = [
        requirement
        for name in set(extras) - {"dev", "test", "onnx"}
        for requirement in extras[name]
    ]
    assert listed("requirements-extras.txt") == by_name(declared)
