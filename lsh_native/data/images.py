"""Labelled images, for networks that read them row by row: the user's IDX files, or 8 x 8 digits.

An IDX file holds two zero bytes, a code of its dtype, its number of dimensions, their sizes as
unsigned 32-bit integers, and its values, all big-endian.

Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", 1998.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from lsh_native.data.batches import Window
from lsh_native.data.vocabulary import Vocabulary

__all__ = ["IdxError", "Images", "digits", "image_batches", "read_idx", "read_images"]

_DTYPES: Final = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_SPLITS: Final = {"train": "train", "test": "t10k"}


class IdxError(ValueError):
    """A file or a folder that cannot be read as images in IDX files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images of one size with their classes, split for training and test.

    Args:
        name: what they are called.
        train: float32 (N, rows, columns) in [0, 1].
        train_labels: int64 (N,), in [0, classes).
        test: float32 (M, rows, columns) in [0, 1].
        test_labels: int64 (M,).
        classes: how many there are.
        valid: float32 (K, rows, columns); no image unless some are `held_out`.
        valid_labels: int64 (K,).
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    valid: Tensor = field(default_factory=lambda: torch.empty(0, 0, 0))
    valid_labels: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def held_out(self, *, share: float = 1 / 12, limit: int | None = None) -> Images:
        """The same with the last training images set aside for validation.

        Args:
            share: of the training images, in (0, 1).
            limit: keep only so many images for training and validation together.

        Raises:
            ValueError: a number is out of range, or nothing is left to train on or to validate on.
        """
        count = min(len(self.train), len(self.train) if limit is None else limit)
        kept_back = round(share * count) if 0 < share < 1 else 0
        if not 1 <= kept_back < count:
            raise ValueError(
                f"share must be in (0, 1) and leave images for training and for validation, "
                f"got {share} of {count} images"
            )
        train, valid = self.train[:count].split([count - kept_back, kept_back])
        labels, valid_labels = self.train_labels[:count].split([count - kept_back, kept_back])
        return replace(
            self, train=train, train_labels=labels, valid=valid, valid_labels=valid_labels
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes by name, which are their numbers."""
        return Vocabulary(tokens=tuple(map(str, range(self.classes))))

    @cached_property
    def hash(self) -> str:
        """SHA-256 in hexadecimal over images and labels; the name plays no part."""
        digest = hashlib.sha256()
        for tensor in (
            *(self.train, self.train_labels, self.valid, self.valid_labels),
            *(self.test, self.test_labels),
        ):
            digest.update(f"{tuple(tensor.shape)}:".encode())
            digest.update(tensor.contiguous().cpu().numpy().data)
        return digest.hexdigest()


def image_batches(
    images: Tensor, labels: Tensor, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Window]:
    """Cut images into batches in which time runs over rows; the last batch may be smaller.

    Args:
        images: (N, rows, columns).
        labels: int64 (N,).
        batch_size: images B in a batch.
        generator: of the order, on the CPU; None keeps it as it is.

    Yields:
        Windows of input (rows, B, columns) and target (B,).
    """
    count = len(images)
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    for chosen in order.to(images.device).split(batch_size):
        read = images[chosen].transpose(0, 1).contiguous()
        yield Window(input=read, target=labels[chosen])


def read_idx(path: str | PathLike[str]) -> Tensor:
    """Read an IDX file, plain or compressed as ``.gz``.

    Returns:
        The tensor that it holds, of its own dtype.

    Raises:
        IdxError: the file is absent, damaged, of another format, or shorter or longer than it says.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise IdxError(f"{path} must be a readable file, got: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES:
        raise IdxError(f"{path} must begin as an IDX file, got the bytes {content[:4].hex(' ')}")
    dtype, dimensions = np.dtype(_DTYPES[content[2]]), content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise IdxError(f"{path} must hold {dimensions} sizes, got {len(content)} bytes in all")
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    wanted = start + dtype.itemsize * math.prod(shape)
    if len(content) != wanted:
        raise IdxError(f"{path} must hold {wanted:,} bytes for shape {shape}, got {len(content):,}")
    values = np.frombuffer(content, dtype=dtype, offset=start).reshape(shape)
    return torch.from_numpy(values.astype(dtype.newbyteorder("=")))


def read_images(folder: str | PathLike[str]) -> Images:
    """Read the four files of MNIST's form: ``train-images-idx3-ubyte`` and so on, plain or ``.gz``.

    Raises:
        IdxError: a file is absent or damaged, or images and labels do not belong together.
    """
    folder = Path(folder)
    parts = {}
    for split, name in _SPLITS.items():
        images = read_idx(_file(folder, f"{name}-images-idx3-ubyte"))
        labels = read_idx(_file(folder, f"{name}-labels-idx1-ubyte"))
        if images.dim() != 3 or labels.dim() != 1 or len(images) != len(labels) or not len(labels):
            raise IdxError(
                f"the {split} files in {folder} must hold as many images as labels, at least one, "
                f"got shapes {tuple(images.shape)} and {tuple(labels.shape)}"
            )
        if images.dtype != torch.uint8 or labels.dtype != torch.uint8:
            raise IdxError(
                f"the {split} files in {folder} must hold bytes, "
                f"got {images.dtype} and {labels.dtype}"
            )
        parts[split] = images.float() / 255, labels.long()
    if parts["train"][0].shape[1:] != parts["test"][0].shape[1:]:
        sizes = " and ".join(str(tuple(images.shape[1:])) for images, _ in parts.values())
        raise IdxError(f"all images in {folder} must have one size, got {sizes}")
    return _images(folder.resolve().name, *parts["train"], *parts["test"])


def digits(*, test_share: float = 0.25, seed: int = 0) -> Images:
    """Scikit-learn's 1,797 digits of 8 x 8 pixels, which need no file.

    Args:
        test_share: of all images, in (0, 1).
        seed: of the split.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", 1998.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be in (0, 1), got {test_share}")
    from sklearn.datasets import load_digits  # a second, which only who asks for digits waits for

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().reshape(-1, 8, 8) / 16
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    test, train = order.split([n := round(test_share * len(images)), len(images) - n])
    classes = torch.from_numpy(labels).long()
    return _images("digits", images[train], classes[train], images[test], classes[test])


def _images(name: str, train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> Images:
    return Images(
        name=name,
        train=train,
        train_labels=labels,
        test=test,
        test_labels=test_labels,
        classes=1 + int(max(labels.max(), test_labels.max())),
    )


def _file(folder: Path, name: str) -> Path:
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise IdxError(f"{folder} must hold {name}, plain or as .gz")
    return found[0]
