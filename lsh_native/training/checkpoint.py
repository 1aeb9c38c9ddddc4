"""Named tensors and plain metadata in one safetensors file that is written whole or not at all."""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lsh_native.training.lock import opened_alone

FORMAT = 1
"""Version of what stands in the file; raised when an older reader would misread it."""

_KEY = "lsh-native"


class CheckpointError(ValueError):
    """A checkpoint that is damaged, foreign, too new, or of another run."""


def save_checkpoint(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write a checkpoint, replacing an older one at the same path in a single step.

    The file goes to the disk under another name in the same folder first, so a crash, a kill or a
    full disk at any moment leaves the older checkpoint as it was.

    Args:
        path: Where the checkpoint goes; its folder must exist.
        tensors: What to store, by name. Of those that share memory each is written.
        metadata: Anything JSON can hold except NaN and infinities. Floats come back bit for bit.

    Raises:
        OSError: The file could not be written; the error names the path and the reason.
        ValueError: The metadata holds NaN or an infinity.
        TypeError: The metadata holds something that JSON cannot.
    """
    plain = _plain(tensors)
    text = json.dumps(metadata, sort_keys=True, allow_nan=False)
    record = {
        "format": FORMAT,
        "library": _library_version(),
        "metadata": text,
        "digest": _digest(plain, text),
    }
    replace_file(Path(path), safetensors.torch.save(plain, {_KEY: json.dumps(record)}))


def load_checkpoint(
    path: str | os.PathLike[str], *, expected: Mapping[str, Any] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint that `save_checkpoint` wrote.

    Args:
        path: The checkpoint.
        expected: Metadata entries that the checkpoint must share with the run that reads it.

    Returns:
        The tensors by name, in main memory, and the metadata.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, is no checkpoint, has a newer format, or differs
            from `expected`; the message lists every difference.

    Warns:
        UserWarning: Another version of this library wrote it, whose arithmetic may differ in the
            last bits: what goes on from here need not repeat an undisturbed run exactly.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, "there is no checkpoint", str(path)) from error
    try:
        tensors = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        _refuse(path, f"is damaged or no checkpoint at all ({error})", error)
    record = _read_record(path, data)
    try:
        metadata = json.loads(record["metadata"], parse_constant=_refuse_constant)
        intact = record["digest"] == _digest(tensors, record["metadata"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        _refuse(path, f"has a damaged record ({error})", error)
    if not intact or not isinstance(metadata, dict):
        _refuse(path, "is damaged: its content does not match its digest")
    found = differences(metadata, expected or {})
    if found:
        _refuse(path, "belongs to another run: " + "; ".join(found))
    if record.get("library") != _library_version():
        warnings.warn(
            f"{path} was written by lsh-native {record.get('library')}, this is "
            f"{_library_version()}: results may differ in their last bits",
            stacklevel=2,
        )
    return tensors, metadata


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as plain safetensors, which any reader of that format understands.

    Raises:
        OSError: The file could not be written; an older one is kept.
    """
    replace_file(Path(path), safetensors.torch.save(_plain(tensors)))


def differences(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """A clause for every entry of `expected` that `stored` holds otherwise; None means absent.

    Example:
        >>> differences({"recipe": {"epochs": 3}, "seed": 1}, {"recipe": {"epochs": 4}, "seed": 1})
        ['recipe.epochs is 3 there and 4 here']
    """
    clauses = []
    for name, here in expected.items():
        there = stored.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            known = {**dict.fromkeys(there), **here}  # what only the other side has differs too
            clauses += [f"{name}.{clause}" for clause in differences(there, known)]
        elif there != here:
            clauses.append(f"{name} is {there!r} there and {here!r} here")
    return clauses


def _read_record(path: Path, data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")  # safetensors: header size, JSON header, data
    record = json.loads(data[8 : 8 + size]).get("__metadata__", {}).get(_KEY)
    if record is None:
        _refuse(path, "is a safetensors file of another program, not a checkpoint")
    try:
        record = json.loads(record)
        newer = record["format"] > FORMAT
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        _refuse(path, f"has a damaged record ({error})", error)
    if newer:
        _refuse(
            path,
            f"has format {record['format']}, written by lsh-native {record.get('library')}; "
            f"this version reads formats up to {FORMAT}",
        )
    return dict(record)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in main memory, no two of which share any: safetensors takes no others."""
    plain: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        moved = tensor.detach().cpu().contiguous()
        place = moved.untyped_storage().data_ptr()
        plain[name] = moved.clone() if place in taken else moved
        taken.add(place)
    return plain


def _digest(tensors: Mapping[str, Tensor], metadata: str) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, durably; an older one stays until the new one is there.

    Of several who write one file at once each writes it whole, one after the other.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with opened_alone(partial) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(partial, path)
            except BaseException:
                with suppress(OSError):
                    partial.unlink()
                raise
    except OSError as error:
        reason = f"file not written, an older one is kept as it was: {error.strerror}"
        raise OSError(error.errno, reason, str(path)) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself must survive a power cut
    finally:
        os.close(folder)


def _library_version() -> str:
    try:
        return version("lsh-native")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refuse(path: Path, reason: str, cause: Exception | None = None) -> NoReturn:
    raise CheckpointError(f"{path} {reason}") from cause
