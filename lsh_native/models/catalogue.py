"""Where a family's name becomes its record: the only list that a new model is added to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from lsh_native.models.awd_lstm import AWDLSTM
from lsh_native.models.classifier import RowClassifier
from lsh_native.models.record import Model
from lsh_native.models.rhn import RHN
from lsh_native.models.stacked import StackedGRU, StackedLSTM, StackedRNN

__all__ = ["FAMILIES", "as_model", "model_values"]

FAMILIES: Mapping[str, type[Model]] = {
    record.family: record
    for record in (StackedLSTM, StackedGRU, StackedRNN, RHN, AWDLSTM, RowClassifier)
}


def as_model(given: object) -> Model:
    """The record that is given, or the one that a mapping with its `family` and fields describes.

    Args:
        given: a record; a mapping, of the family `lstm` unless it says so; or None for the default
            model.

    Raises:
        TypeError: it is neither.
        ValueError: there is no such family, or the family has no such field.
    """
    if isinstance(given, Model) and type(given) in FAMILIES.values():
        return given
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"model must be a record or a table of fields, got {given!r}")
    values = dict(given or {})
    family = values.pop("family", "lstm")
    if family not in FAMILIES:
        raise ValueError(f"model.family must be one of {', '.join(FAMILIES)}, got {family!r}")
    record = FAMILIES[family]
    known = [field.name for field in fields(record)]  # type: ignore[arg-type]
    if unknown := [name for name in values if name not in known]:
        raise ValueError(
            f"a model of the family {family} has the fields {', '.join(known)}, "
            f"got {', '.join(map(str, unknown))}"
        )
    return record(**values)


def model_values(model: Model) -> dict[str, Any]:
    """What `as_model` makes this model of, as JSON values."""
    values = asdict(model)  # type: ignore[call-overload]
    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
    return {"family": model.family, **plain}
