"""Compile a network while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["check_compiler", "compiled"]

_BACKEND = "inductor"


def check_compiler(device: torch.device) -> None:
    """Refuse to compile for a CPU where compiled code cannot be built.

    Raises:
        ValueError: if there is no C++ compiler.
    """
    if device.type == "cpu" and not _has_cpp_compiler():
        raise ValueError(
            "compile needs a C++ compiler for training on a CPU, and none is found: install g++, name one by the "
            "environment variable CXX, or leave out --compile"
        )


@contextmanager
def compiled(model: nn.Module) -> Iterator[None]:
    """Within, run a network compiled by torch; its names and weights are as before.

    A step whose objective reads maps runs eagerly all the same: `looksharp.attention.eager.eagerly` sees to it.
    """
    model.compile(backend=_BACKEND)
    try:
        yield
    finally:
        model._compiled_call_impl = None


def _has_cpp_compiler() -> bool:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False
