"""Recurrent stacks under torch's data-parallel wrappers, in a group of one process."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import distributed

from lsh_native.nn import SparseGRU, SparseLSTM, SparseRHN

pytestmark = [
    pytest.mark.skipif(not distributed.is_available(), reason="torch has no distributed part"),
    # of results that are views, which an in-place change would take out of the wrapper's sight
    pytest.mark.filterwarnings("ignore:FSDP2-wrapped module:UserWarning"),
]


@pytest.fixture
def group() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def stacks() -> list[Any]:
    torch.manual_seed(0)
    return [
        SparseLSTM(4, 6, 2, bidirectional=True, density=0.4),
        SparseGRU(4, 6, density=0.4, dtype=torch.bfloat16),
        SparseRHN(4, 6, 3, density=0.4),
    ]


def gradients(module: Any) -> list[torch.Tensor]:
    dtype = next(module.parameters()).dtype
    x = torch.ones(5, 3, 4, dtype=dtype)
    module(x)[0].sum().backward()
    return [p.grad for p in module.parameters()]


@pytest.mark.usefixtures("group")
def test_distributed_data_parallel() -> None:
    for module in stacks():
        wrapped = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(module))
        for a, b in zip(gradients(wrapped), gradients(module), strict=True):
            assert torch.equal(a, b)


@pytest.mark.usefixtures("group")
def test_fully_sharded_data_parallel() -> None:
    """Parameters are shards between calls; a step and a change of masks come through."""
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    mesh = distributed.init_device_mesh("cpu", (1,))
    for module in stacks():
        wrapped = fsdp.fully_shard(copy.deepcopy(module), mesh=mesh)
        for round_ in range(2):
            for m in (module, wrapped):
                m.zero_grad()
            for a, b in zip(gradients(wrapped), gradients(module), strict=True):
                assert torch.equal(a.full_tensor(), b), round_
            for m in (module, wrapped):
                torch.optim.SGD(m.parameters(), lr=0.1).step()
                m.set_masks({name: mask.flip(0) for name, mask in m.masks().items()})
