"""`lsh-native spectrum` along all of the validation text."""

from pathlib import Path

import pytest

from lsh_native.cli.main import main

TEXT = "--text.train_tokens=3000"  # and 8000 of validation: 200 columns predict 40 tokens at most


def test_a_row_that_is_a_target_alone_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--recipe.model.hidden_size=4", "--recipe.model.embedding_size=4"]
    training = [f"--output={tmp_path}", "--recipe.epochs=1", "--threads=1", TEXT, *sizes]
    assert main(["train", *training]) == 0
    options = ["--sequences=200", "--state_warmup=15", "--tangent_warmup=15", "--threads=1", TEXT]
    spectrum = [
        *("spectrum", str(tmp_path / "model.safetensors"), *options),
        f"--output={tmp_path / 'spectrum.json'}",
    ]
    assert main([*spectrum, "--steps=10"]) == 0
    capsys.readouterr()
    assert main([*spectrum, "--steps=11"]) == 1
    assert "must give 41 steps for each of 200 sequences, got 40" in capsys.readouterr().err
