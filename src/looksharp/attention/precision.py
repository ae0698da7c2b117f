"""Precision of what maps are made of."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["LOW_PRECISION", "at_least_float32"]

LOW_PRECISION = (torch.float16, torch.bfloat16)


def at_least_float32(values: Tensor) -> Tensor:
    """Raise float16 and bfloat16 to float32; leave others as they are."""
    return values.float() if values.dtype in LOW_PRECISION else values
