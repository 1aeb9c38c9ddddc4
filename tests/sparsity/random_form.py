"""Masks of every form that a kernel may profit from."""

import torch
from torch import Tensor

FORMS = ("any", "fan-in", "4x1", "8x1", "16x1", "gates", "both", "full", "none")


def draw_form(form: str, rows: int, columns: int, gates: int, density: float = 0.3) -> Tensor:
    """A mask whose blocks, rows or gates have the form; rows a multiple of 16 times the gates."""
    generator = torch.Generator().manual_seed(rows + columns + gates)

    def draw(count: int) -> Tensor:
        return torch.rand(count, columns, generator=generator) < density

    if form == "full":
        return torch.ones(rows, columns, dtype=torch.bool)
    if form == "none":
        return torch.zeros(rows, columns, dtype=torch.bool)
    if form == "fan-in":
        ranks = torch.rand(rows, columns, generator=generator).argsort(1).argsort(1)
        return ranks < round(density * columns)
    if form == "gates":
        return draw(rows // gates).repeat(gates, 1)
    if form == "both":
        return draw(rows // gates // 4).repeat_interleave(4, 0).repeat(gates, 1)
    height = {"any": 1, "4x1": 4, "8x1": 8, "16x1": 16}[form]
    return draw(rows // height).repeat_interleave(height, 0)
