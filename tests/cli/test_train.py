"""From a recipe to a network, its text, and what other programs read; and what is refused."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lsh_native.cli.main import main
from lsh_native.cli.options import read_options
from lsh_native.cli.parser import make_parser
from lsh_native.cli.train import train
from lsh_native.data import BYTES, Vocabulary
from lsh_native.training import (
    Recipe,
    Snapshot,
    draw_model,
    load_checkpoint,
    load_model,
    model_state,
    save_model,
)

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.toml"))

TINY = """
sparsity = 0.5
[text]
train_tokens = 3000
[recipe]
epochs = 2
[recipe.model]
family = "rhn"
embedding_size = 8
hidden_size = 8
depth = 2
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def trained(recipe: Path) -> Path:
    folder = recipe.parent / "network"
    assert main(["train", str(recipe), f"--output={folder}", "--threads=1"]) == 0
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) != 0
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_network_of_a_recipe(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_model(trained / "model.safetensors").recipe.model.family == "rhn"
    lines = (trained / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines].count("epoch") == 2
    before = (trained / "checkpoint.safetensors").read_bytes()
    assert "going on after epoch 2 of 2" in run(capsys, "resume", trained)
    assert (trained / "checkpoint.safetensors").read_bytes() == before


def test_it_is_evaluated_and_speaks(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, text = trained / "model.safetensors", "--text.train_tokens=3000"
    said = [
        json.loads(run(capsys, "evaluate", model, text, "--as_json=true", f"--batch_size={n}"))
        for n in (1, 10)
    ]
    assert said[0]["tokens"] == said[1]["tokens"] == 7_999
    assert said[0]["loss"] == pytest.approx(said[1]["loss"], rel=1e-2)
    assert "floor 5.7340, +" in run(capsys, "evaluate", model, text)
    words = run(capsys, "generate", model, "--length=12", "--prompt=the.1 noun1.2")
    assert words.startswith("the.1 noun1.2 ")
    assert len(words.split()) <= 14


def test_a_model_reads_text_by_its_own_vocabulary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of the README on a text whose parts hold words that the others lack."""
    for split, rare in (("train", "one two"), ("valid", "three"), ("test", "four")):
        (tmp_path / f"{split}.txt").write_text(f"the cat sat on the mat\n{rare}\n" * 99)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[text]\nlimit = 400\nvocabulary_size = 7\nunknown = "<unk>"\n'
        "[recipe]\nepochs = 1\nbatch_size = 4\nwindow = 5\n"
        '[recipe.model]\nfamily = "lstm"\nembedding_size = 4\nhidden_size = 4\n'
    )
    data, folder = f"--data={tmp_path}", tmp_path / "network"
    run(capsys, "train", recipe, data, f"--output={folder}", "--threads=1")
    model = folder / "model.safetensors"
    assert len(load_model(model).vocabulary) == 7
    values = json.loads(run(capsys, "evaluate", model, data, "--as_json"))
    assert values["tokens"] == 99 * 9 - 1
    spectrum = [f"--output={tmp_path / 'spectrum.json'}", "--steps=10"]
    assert "16 exponents over 10 steps" in run(capsys, "spectrum", model, data, *spectrum)
    assert "must have the model's vocabulary" in refused(capsys, "evaluate", model)


def test_a_model_of_bytes_speaks_in_letters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe(model={"family": "lstm", "embedding_size": 4, "hidden_size": 4})
    vocabulary = Vocabulary(tokens=BYTES.alphabet)
    state = model_state(draw_model(recipe, len(vocabulary), seed=0))
    # whatever came before, the second byte of two that are one letter follows
    state["decoder.bias"] = 99.0 * torch.eye(256)[0xA9]
    path = tmp_path / "model.safetensors"
    save_model(path, Snapshot(epoch=1, valid_loss=1.0, state=state), recipe, vocabulary)
    said = run(capsys, "generate", path, "--length=2", "--temperature=0", "--prompt=née \u00c3")
    assert said == "née \u00c3\ufffd\ufffd\n"
    # the first byte of that letter stands in the prompt as a command line has it
    said = run(capsys, "generate", path, "--length=1", "--temperature=0", "--prompt=\udcc3")
    assert said == "é\n"


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--output=spectrum.svg", "output must name a JSON file, beside which the SVG goes, got"),
        ("--k=3", "k must be left to lsh2022, which fixes it, got 3"),
        ("--steps=50", "steps must be left to lsh2022, which fixes it, got 50"),
        ("--until=0.1", "until must be left to lsh2022, which fixes it, got 0.1"),
        ("--tangent_warmup=0", "tangent_warmup must be left to lsh2022, which fixes it, got 0"),
    ],
)
def test_a_spectrum_refuses_what_it_does_not_read(
    option: str, sentence: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained / "model.safetensors"
    assert sentence in refused(capsys, "spectrum", model, "--reference=lsh2022", option)


def test_it_leaves_as_plain_tensors(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(trained / "model.safetensors").model
    for form in ("dense", "csr"):
        run(capsys, "export", trained / "model.safetensors", tmp_path / form, f"--form={form}")
    dense = safetensors.torch.load_file(tmp_path / "dense")
    assert dense.keys() == dict(model.named_parameters()).keys()
    for name, weight in dense.items():
        mask = model.masks().get(name, torch.tensor(True))
        assert torch.equal(weight, model.get_parameter(name) * mask)
    csr = safetensors.torch.load_file(tmp_path / "csr")
    name = "recurrent.weight_ih_l0"
    assert len(csr[f"{name}.values"]) == int(model.masks()[name].sum())
    error = refused(capsys, "export", trained / "model.safetensors", tmp_path / "x")
    assert "a model is exported as dense, csr, onnx, got csv" in error


def test_it_leaves_as_onnx(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    path = tmp_path / "model.onnx"
    said = run(capsys, "export", trained / "model.safetensors", path, "--form=onnx")
    assert said == f"{path}\n"
    assert b"log_probabilities" in path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--text.train_tokens=4000"], "belongs to another run: corpus is"),
        (["--recipe.model.depth=3"], "recipe.model.depth is 2 there and 3 here"),
        (["--seed=1"], "seed is 0 there and 1 here"),
        (["--recipe.model.dropout=0.5"], "a model of the family rhn has the fields"),
        (["--recipe.speed=9"], "recipe.speed"),
        (["--recipe.precision=bfloat16"], "needs a model on a GPU"),
    ],
)
def test_another_run_is_refused(
    arguments: list[str],
    sentence: str,
    trained: Path,
    recipe: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sentence in refused(capsys, "train", recipe, f"--output={trained}", *arguments)


def test_a_gpu_that_is_not_there_is_named(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    commands = (
        ["train", f"--output={tmp_path / 'x'}"],
        ["evaluate", trained / "model.safetensors"],
    )
    for command in commands:
        assert "device cuda must have a GPU and kernels" in refused(
            capsys, *command, "--device=cuda"
        )
    assert not (tmp_path / "x").exists()


def test_damage_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.safetensors"
    whole = (trained / "model.safetensors").read_bytes()
    huge = (2**60).to_bytes(8, "little") + whole[8:]
    for data in (whole[:-9], whole[:100], b"", huge, whole.replace(b"rhn", b"gru")):
        path.write_bytes(data)
        assert "model.safetensors" in refused(capsys, "generate", path)
    error = refused(capsys, "evaluate", trained / "model.safetensors", "--data=/nowhere")
    assert "/nowhere" in error
    assert "must hold" in refused(capsys, "resume", tmp_path)


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_network(
    trained: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "killed"
    options = [f"--output={folder}", "--threads=1", "--save_every=0", "--log_every=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lsh_native", "train", str(recipe), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    log = folder / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 3):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert "going on after epoch" in run(capsys, "resume", folder)
    found, expected = (
        load_checkpoint(at / "checkpoint.safetensors")[0] for at in (folder, trained)
    )
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    counted = [row["total_steps"] for row in steps if row["kind"] == "step"]
    assert counted == list(range(1, len(counted) + 1))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_read(path: Path) -> None:
    parser = make_parser(train)
    options = parser.instantiate(parser.parse_args(["--config", str(path)]))
    model = options.recipe.model
    assert (model.family if model.reads == "text" else model.cell) in path.stem.replace("-", "_")


def test_a_classifier_of_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, folder = tmp_path / "digits.toml", tmp_path / "network"
    model = '[recipe.model]\nfamily = "row_classifier"\ncolumns = 8\nhidden_size = 8\n'
    recipe.write_text(f'[recipe]\nepochs = 1\noptimizer = "adam"\nlearning_rate = 4e-3\n{model}')
    said = run(capsys, "train", recipe, f"--output={folder}", "--sparsity=0.5", "--threads=1")
    assert "validation accuracy" in said
    assert "images/s" in said
    assert "going on after epoch 1 of 1" in run(capsys, "resume", folder)
    model_file = folder / "model.safetensors"
    values = json.loads(run(capsys, "evaluate", model_file, "--as_json=true", "--batch_size=99"))
    assert values["images"] == 449
    assert 0 <= values["accuracy"] <= 1
    assert "must be a language model, got a row_classifier" in refused(
        capsys, "generate", model_file
    )
    assert "a search needs a model that reads text" in refused(
        capsys, "search", recipe, f"--output={tmp_path / 'study'}"
    )


def test_resume_knows_the_options_of_the_last_call_that_began(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "network"
    train_it = ["train", recipe, f"--output={folder}", "--threads=1"]
    assert "every must be at least 1" in refused(capsys, *train_it, "--log_every=0")
    error = refused(capsys, *train_it, "--recipe.learning_rate=1e30", "--recipe.clip=1e30")
    assert "must be finite" in error
    run(capsys, *train_it)
    assert "seed is 0 there and 1 here" in refused(capsys, *train_it, "--seed=1")
    assert "going on after epoch 2 of 2" in run(capsys, "resume", folder)
    run(capsys, *train_it, "--log_every=7")
    assert read_options(train, folder / "training.json")["log_every"] == 7


def test_options_come_back(trained: Path) -> None:
    options = read_options(train, trained / "training.json")
    assert options["recipe"].model.depth == 2
    assert options["sparsity"] == 0.5
    assert options["candidate"].drop == "global_magnitude"
