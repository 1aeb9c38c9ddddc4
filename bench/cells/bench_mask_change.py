"""What a changed mask costs: a weight's structures made anew, beside torch's compressed rows."""

import warnings
from collections.abc import Iterator

import torch

from bench.harness import Case, Goal
from lsh_native.sparsity.pattern import pack_pattern, pack_pattern_


def cases(short: bool) -> Iterator[Case]:
    rows, columns = (256, 64) if short else (6000, 1500)
    torch.manual_seed(0)
    mask = torch.rand(rows, columns) < 0.1
    weight = torch.randn(rows, columns) * mask
    pattern = pack_pattern(mask)

    def compressed() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that its compressed rows are in beta
            weight.to_sparse_csr()
            weight.t().to_sparse_csr()

    yield Case(
        name=f"mask change, {rows} x {columns}, 90% sparse",
        ours=lambda: pack_pattern_(pattern, mask),
        peers={"to_sparse_csr and of the transpose": compressed},
        shape={"R": rows, "C": columns, "sparsity": 0.9},
        goals={"to_sparse_csr and of the transpose": Goal(must=1 if short else 5, aim=10)},
    )
