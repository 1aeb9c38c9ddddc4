"""Images from IDX files and from scikit-learn, and files that are no such thing."""

import gzip
import struct

import numpy as np
import pytest
import torch

from lsh_native.data import IdxError, digits, read_idx, read_images

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")


def idx(values, code=0x08):
    values = np.asarray(values)
    header = struct.pack(">HBB", 0, code, values.ndim) + struct.pack(
        f">{values.ndim}I", *values.shape
    )
    return header + values.tobytes()


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for start, count in (("train", 5), ("t10k", 3)):
        images = random.integers(0, 256, (count, 4, 6), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8)
        (tmp_path / f"{start}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{start}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")],
)
def test_every_dtype(tmp_path, code, dtype):
    values = np.arange(6, dtype=dtype).reshape(1, 2, 3)
    (tmp_path / "file").write_bytes(idx(values, code))
    assert read_idx(tmp_path / "file").tolist() == values.tolist()


def test_a_folder(folder):
    images = read_images(folder)
    assert (images.name, images.classes) == (folder.name, 5)
    assert images.train.shape == (5, 4, 6)
    assert images.test_labels.tolist() == [0, 1, 2]
    raw = read_idx(folder / NAMES[0])
    assert torch.equal(images.train, raw.float() / 255)


def test_mnist(shared_data):
    images = read_images(shared_data / "mnist")
    assert images.train.shape == (60_000, 28, 28)
    assert images.test_labels.bincount().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip


def test_digits():
    images = digits()
    assert (len(images.train), len(images.test), images.classes) == (1348, 449, 10)
    assert images.train.shape[1:] == (8, 8)
    assert (float(images.train.min()), float(images.train.max())) == (0.0, 1.0)
    assert torch.equal(digits().test, images.test)
    assert not torch.equal(digits(seed=1).test, images.test)


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_digits_refuse_a_share(share):
    with pytest.raises(ValueError, match=r"test_share must be in \(0, 1\)"):
        digits(test_share=share)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin as an IDX file, got the bytes "),
        (b"\x00\x00\x07\x01", "must begin as an IDX file, got the bytes 00 00 07 01"),
        (b"text of a user", "must begin as an IDX file"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], r"must hold 18 bytes for shape \(2, 3\), got 17"),
        (idx(np.zeros((2, 3), np.uint8)) + b"x", r"must hold 18 bytes for shape \(2, 3\), got 19"),
        (b"\x00\x00\x08\x03\x00\x00", "must hold 3 sizes, got 6 bytes in all"),
        (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), "must hold 79,"),
    ],
)
def test_refuses_files(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(IdxError, match=message):
        read_idx(tmp_path / "file")


def test_refuses_what_is_no_file(tmp_path):
    (tmp_path / "file.gz").write_bytes(gzip.compress(b"\0" * 100)[:-12])
    for path in (tmp_path / "file.gz", tmp_path / "absent", tmp_path):
        with pytest.raises(IdxError, match="must be a readable file, got"):
            read_idx(path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (NAMES[1], np.zeros(4, np.uint8), "as many images as labels"),
        (NAMES[0], np.zeros((5, 24), np.uint8), "as many images as labels"),
        (NAMES[0], np.zeros((5, 6, 4), np.uint8), r"one size, got \(6, 4\) and \(4, 6\)"),
    ],
)
def test_refuses_what_does_not_belong_together(folder, name, values, message):
    (folder / f"{name}.gz").unlink(missing_ok=True)
    (folder / name).write_bytes(idx(values))
    with pytest.raises(IdxError, match=message):
        read_images(folder)


def test_refuses_other_numbers_than_bytes(folder):
    (folder / NAMES[0]).write_bytes(idx(np.zeros((5, 4, 6), ">f4"), 0x0D))
    with pytest.raises(IdxError, match=r"must hold bytes, got torch.float32 and torch.uint8"):
        read_images(folder)


def test_refuses_a_folder_without_files(tmp_path):
    with pytest.raises(IdxError, match=r"must hold train-images-idx3-ubyte, plain or as \.gz"):
        read_images(tmp_path)
