"""The examples run, as their users run them."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

# An installed wheel is tested without the source tree, whose examples these are.
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="examples/ is not beside the tests")


@pytest.mark.parametrize("name", ["own_training_loop", "replace_lstm", "weight_drop"])
def test_example(name):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_spectrum_of_training(tmp_path):
    command = [sys.executable, str(EXAMPLES / "spectrum_of_training.py"), "--output", str(tmp_path)]
    subprocess.run([*command, "--epochs", "1", "--steps", "40"], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {"spectrum.svg", "convergence.svg"}
