"""The numbers that end a search: the dense network beside the one found, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from lsh_native.search.constraint import Constraint, Missed
from lsh_native.search.result import Budget

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Block:
    """How many weights of a matrix, or of one gate's rows of it, are connections.

    Args:
        matrix: Name of the weight.
        gate: Name of the gate; empty for a matrix without gates.
        weights: Entries of the block.
        non_zeros: Those that the mask keeps.

    Raises:
        ValueError: If not 0 <= non_zeros <= weights, or there is no weight.
    """

    matrix: str
    gate: str = ""
    weights: int
    non_zeros: int

    def __post_init__(self) -> None:
        if not 0 <= self.non_zeros <= self.weights or not self.weights:
            raise ValueError(
                f"{self.matrix} must have 0 <= non_zeros <= weights and a weight, "
                f"got {self.non_zeros} and {self.weights}"
            )

    @property
    def density(self) -> float:
        """Kept share, in [0, 1]."""
        return self.non_zeros / self.weights


def count_blocks(
    masks: Mapping[str, Tensor], *, gates: Mapping[str, Sequence[str]]
) -> tuple[Block, ...]:
    """Count the connections of each matrix, and of each gate where a matrix has several.

    Args:
        masks: Bool tensors by the name of their weight, (rows, columns); a shared weight once.
        gates: Names of the gates in the order of a weight's rows, by the name of the weight;
            without the weights that have none.

    Raises:
        ValueError: If the rows of a weight do not divide among its gates.
    """
    blocks = []
    for name, mask in masks.items():
        names = gates.get(name, ())
        names = names if len(names) > 1 else ("",)
        rows = len(mask)
        if rows % len(names):
            raise ValueError(f"{name} must have rows for {len(names)} gates, got {rows}")
        step = rows // len(names)
        for index, gate in enumerate(names):
            part = mask[index * step : (index + 1) * step]
            count, kept = math.prod(part.shape), int(part.sum())
            blocks.append(Block(matrix=name, gate=gate, weights=count, non_zeros=kept))
    return tuple(blocks)


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """What was measured of one finished network; None where something was not.

    Args:
        method: How it was pruned, in words; "dense" for the reference.
        valid_perplexity: On the validation text, which it was chosen by.
        test_perplexity: On the test text.
        blocks: Its connections.
        file_bytes: Size of its file as it was saved.
        training_tokens_per_second: Speed of training.
        inference_tokens_per_second: Speed of evaluation.
        epochs: Epochs it trained.
        seconds: Seconds it trained and was evaluated for.

    Raises:
        ValueError: If a number is not finite or out of range.
    """

    method: str
    valid_perplexity: float
    test_perplexity: float | None = None
    blocks: tuple[Block, ...]
    file_bytes: int | None = None
    training_tokens_per_second: float | None = None
    inference_tokens_per_second: float | None = None
    epochs: int
    seconds: float

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("a model must have at least one matrix in blocks, got none")
        _check(self, ("valid_perplexity", "test_perplexity"), least=1)
        _check(self, ("file_bytes", "epochs", "seconds"), least=0)
        _check(self, ("training_tokens_per_second", "inference_tokens_per_second"), least=0)

    @property
    def weights(self) -> int:
        """Entries of all its matrices."""
        return sum(block.weights for block in self.blocks)

    @property
    def non_zeros(self) -> int:
        """Connections of all its matrices."""
        return sum(block.non_zeros for block in self.blocks)

    @property
    def density(self) -> float:
        """Kept share of the weights, in [0, 1]."""
        return self.non_zeros / self.weights

    def to_dict(self) -> dict[str, Any]:
        """Every number, as JSON values."""
        return {
            **asdict(self),
            "blocks": [{**asdict(block), "density": block.density} for block in self.blocks],
            "weights": self.weights,
            "non_zeros": self.non_zeros,
            "density": self.density,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ModelFigures:
        """Rebuild the figures from `to_dict`; what follows from others is worked out again."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in record.items() if name in known}
        names = {field.name for field in fields(Block)}
        blocks = [{n: v for n, v in block.items() if n in names} for block in record["blocks"]]
        return cls(**{**values, "blocks": tuple(Block(**block) for block in blocks)})


@dataclass(frozen=True, kw_only=True)
class FinalTable:
    """The final table of a search.

    Args:
        dense: The dense reference.
        found: The best sparse network, or None if no candidate finished.
        budget: What the search cost.
        best_possible_perplexity: Of the source of the text, where its entropy rate is known.
        missed: Targets that the network found does not keep to.

    Raises:
        ValueError: If the best possible perplexity is not a finite number >= 1.
    """

    dense: ModelFigures
    found: ModelFigures | None
    budget: Budget
    best_possible_perplexity: float | None = None
    missed: tuple[Missed, ...] = ()

    def __post_init__(self) -> None:
        _check(self, ("best_possible_perplexity",), least=1)

    def to_dict(self) -> dict[str, Any]:
        """Every number of the printed tables, and some more, as JSON values."""
        dense = self.dense.to_dict()
        found = None if self.found is None else self.found.to_dict()
        return {
            "dense": dense,
            "found": found,
            "found_over_dense": None if found is None else _ratios(found, dense),
            "best_possible_perplexity": self.best_possible_perplexity,
            "missed": [{**asdict(m.constraint), "value": m.value} for m in self.missed],
            "budget": budget_to_dict(self.budget),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], budget: Budget) -> FinalTable:
        """Rebuild the table from `to_dict`, with the budget as the store knows it."""
        found = record["found"]
        return cls(
            dense=ModelFigures.from_dict(record["dense"]),
            found=None if found is None else ModelFigures.from_dict(found),
            budget=budget,
            best_possible_perplexity=record["best_possible_perplexity"],
            missed=tuple(
                Missed(
                    constraint=Constraint(name=m["name"], at_most=m["at_most"]), value=m["value"]
                )
                for m in record.get("missed", ())
            ),
        )


def budget_to_dict(budget: Budget) -> dict[str, Any]:
    """Return what a search cost beside its rivals, as JSON values.

    The seconds of a full search are estimated from the seconds per epoch of the candidates.
    """
    each = budget.trial_seconds / budget.trial_epochs if budget.trial_epochs else None
    return {
        "candidates": budget.candidates,
        "epochs_of_full_schedule": budget.total,
        "search": {"epochs": budget.epochs, "seconds": budget.seconds, "over_search": 1.0},
        "of_candidates": {"epochs": budget.trial_epochs, "seconds": budget.trial_seconds},
        "of_reference": {"epochs": budget.reference_epochs, "seconds": budget.reference_seconds},
        "of_spectra": {"epochs": None, "seconds": budget.spectrum_seconds},
        "full_search": {
            "epochs": budget.full_search_epochs,
            "seconds": None if each is None else each * budget.full_search_epochs,
            "over_search": budget.full_search_ratio,
        },
        "halving": {
            "epochs": budget.halving_epochs,
            "seconds": budget.trial_seconds,
            "over_search": budget.halving_ratio,
        },
    }


def _ratios(found: Mapping[str, Any], dense: Mapping[str, Any]) -> dict[str, float | None]:
    """Return found over dense."""
    names = (
        "non_zeros",
        "file_bytes",
        "training_tokens_per_second",
        "inference_tokens_per_second",
    )
    return {
        name: found[name] / dense[name] if found[name] is not None and dense[name] else None
        for name in names
    }


def _check(record: object, names: Sequence[str], *, least: float) -> None:
    for name in names:
        value = getattr(record, name)
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"{name} must be finite and at least {least}, got {value}")
