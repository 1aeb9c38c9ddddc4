"""Checkpoints: whole, old or refused, and never half."""

import errno
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from io import FileIO

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsh_native.training import checkpoint
from lsh_native.training.checkpoint import (
    CheckpointError,
    differences,
    load_checkpoint,
    replace_file,
    save_checkpoint,
)

TENSORS = {"weight": torch.arange(6.0).view(2, 3), "mask": torch.tensor([True, False])}
METADATA = {"recipe": {"epochs": 3, "clip": 0.25}, "corpus": "abc"}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "trial.safetensors"
    save_checkpoint(path, TENSORS, METADATA)
    return path


def rewrite_record(path, change):
    """Change the record of a checkpoint as a hostile hand would, all else intact."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    tensors = safetensors.torch.load(data)
    record = change(header["__metadata__"]["lsh-native"])
    path.write_bytes(safetensors.torch.save(tensors, {"lsh-native": record}))


def test_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "all.safetensors"
    tensors = {
        "float32": torch.tensor([0.1, -0.0, math.inf, math.nan, 1e-45]),
        "float64": torch.tensor([[0.1], [5e-324]], dtype=torch.float64),
        "bytes": torch.get_rng_state(),
        "scalar": torch.tensor(7),
        "bool": torch.tensor([[True, False]]),
        "empty": torch.zeros(0, 3),
        "transposed": torch.arange(6).view(2, 3).t(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    save_checkpoint(path, tensors, {})
    loaded, metadata = load_checkpoint(path)
    assert metadata == {}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert loaded[name].numpy().tobytes() == tensor.detach().contiguous().numpy().tobytes()


@settings(deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_metadata_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "metadata.safetensors"
    save_checkpoint(path, {}, {"value": value})
    assert load_checkpoint(path)[1] == {"value": value}


def test_same_content_same_bytes(path, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, dict(reversed(TENSORS.items())), dict(reversed(METADATA.items())))
    assert other.read_bytes() == path.read_bytes()


def test_every_truncation_is_refused(path):
    data = path.read_bytes()
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match="damaged or no checkpoint at all"):
            load_checkpoint(path)


@pytest.mark.filterwarnings("ignore:.*was written by")
def test_every_changed_byte_is_refused(path):
    data = path.read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        try:
            tensors, metadata = load_checkpoint(path)
        except CheckpointError:
            continue
        # only a change without meaning may pass: the library's version, spaces in the header
        assert metadata == METADATA
        assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other"
    for content in (b"", b"plain text, longer than a header", b"\x80\x02}q\x00.", bytes(100)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="other"):
            load_checkpoint(path)
    for metadata in (None, {"format": "pt"}):
        path.write_bytes(safetensors.torch.save(TENSORS, metadata))
        with pytest.raises(CheckpointError, match="is a safetensors file of another program"):
            load_checkpoint(path)


def test_newer_format_is_refused(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    save_checkpoint(path, TENSORS, METADATA)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"has format 2, written by lsh-native .*up to 1"):
        load_checkpoint(path)


def test_another_version_of_the_library_is_told(path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_library_version", lambda: "0.0.9")
    save_checkpoint(path, TENSORS, METADATA)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=r"was written by lsh-native 0\.0\.9, this is"):
        tensors, _ = load_checkpoint(path)
    assert tensors.keys() == TENSORS.keys()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: "not JSON",
        lambda record: "[]",
        lambda record: "{}",
        lambda record: '{"format": "one"}',
        lambda record: '{"format": 1}',
        lambda record: "[" * 100_000,
        lambda record: json.dumps({**json.loads(record), "metadata": 3}),
        lambda record: json.dumps({**json.loads(record), "metadata": '{"epochs": NaN}'}),
        lambda record: json.dumps({**json.loads(record), "metadata": "{}"}),
        lambda record: json.dumps({**json.loads(record), "digest": None}),
    ],
)
def test_malformed_record_is_refused(path, change):
    rewrite_record(path, change)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_metadata_must_be_an_object(path):
    def change(record):
        text = "[1]"
        return json.dumps(
            {**json.loads(record), "metadata": text, "digest": checkpoint._digest(TENSORS, text)}
        )

    rewrite_record(path, change)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint.*absent"):
        load_checkpoint(tmp_path / "absent")


def test_another_run_is_refused_with_every_difference(path):
    assert load_checkpoint(path, expected=METADATA)[1] == METADATA
    expected = {"recipe": {"epochs": 4, "clip": 0.25}, "corpus": "abd"}
    message = (
        r"trial.safetensors belongs to another run: recipe.epochs is 3 there and 4 here; "
        "corpus is 'abc' there and 'abd' here"
    )
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, expected=expected)


def test_differences():
    assert differences({"a": 1, "b": 2}, {"a": 1}) == []
    assert differences({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "z": 3}}) == [
        "a.y is 2 there and None here",
        "a.z is None there and 3 here",
    ]
    assert differences({}, {"a": {"x": 1}}) == ["a is None there and {'x': 1} here"]


def full(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("module", "name", "failing"),
    [
        (checkpoint, "opened_alone", lambda path: FileIO("/dev/full", "wb")),
        (os, "fsync", full),
        (os, "replace", full),
    ],
)
def test_full_disk_keeps_the_older_checkpoint(path, monkeypatch, module, name, failing):
    before = path.read_bytes()
    monkeypatch.setattr(module, name, failing, raising=False)
    with pytest.raises(OSError, match=r"older one is kept.*No space left.*trial") as caught:
        save_checkpoint(path, {"weight": torch.zeros(2)}, {})
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_left_over_of_a_killed_writer_is_replaced(path):
    left_over = path.with_name(f".{path.name}.partial")
    left_over.write_bytes(b"half a file")
    save_checkpoint(path, TENSORS, {"epoch": 2})
    assert load_checkpoint(path)[1] == {"epoch": 2}
    assert not left_over.exists()


def test_writers_of_one_file_take_turns(tmp_path):
    """Each leaves a whole file, and none finds that its own was moved or emptied by another."""
    path = tmp_path / "shared"

    def write(letter):
        for _ in range(25):
            replace_file(path, letter * 50_000)
            assert set(path.read_bytes()) <= set(b"abcd")
            assert len(set(path.read_bytes())) == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, (b"a", b"b", b"c", b"d")))
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder(tmp_path):
    with pytest.raises(OSError, match=r"not written.*nowhere"):
        save_checkpoint(tmp_path / "nowhere" / "x", {}, {})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_metadata_must_be_finite(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path / "x", {}, {"loss": value})
    assert not list(tmp_path.iterdir())


def test_metadata_must_be_plain(tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        save_checkpoint(tmp_path / "x", {}, {"path": tmp_path})
