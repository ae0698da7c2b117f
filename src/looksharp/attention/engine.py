"""Ask what autograd's engine computes in its present run."""

from __future__ import annotations

from typing import Protocol

import torch
from torch.autograd.graph import Node

__all__ = ["is_wanted"]


class _Context(Protocol):
    next_functions: tuple[tuple[Node | None, int], ...]


def is_wanted(ctx: _Context, place: int) -> bool:
    """Ask whether the engine's present run needs the gradient of an argument, not just whether it could."""
    node = ctx.next_functions[place][0]
    try:
        return node is not None and torch._C._will_engine_execute_node(node)
    except RuntimeError:  # raised for a leaf, mostly a weight, that `autograd.grad` was asked for
        return True
