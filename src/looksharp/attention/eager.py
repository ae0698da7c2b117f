"""Run a network eagerly where its maps are read: not compiled, and with every activation kept."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakSet

import torch
from torch import nn

__all__ = ["eagerly"]

_CHECKPOINTS = ("grad_checkpointing", "gradient_checkpointing")
"""Attributes by which modules of timm and of transformers are told to compute activations again in the backward."""

_SAID: WeakSet[nn.Module] = WeakSet()


@contextmanager
def eagerly(model: nn.Module) -> Iterator[None]:
    """Within, run a compiled model as it is written, and a checkpointed one with its activations kept.

    A compiled backward can be neither differentiated nor batched, and activations that are computed again would be
    computed without the hooks and functions that maps need. Both are as before afterwards; the first time, a warning
    says so. While a compiled model runs so, other threads' compiled models run eagerly too.

    Args:
        model: any module; it is inspected with its submodules, compiled by `torch.compile` or in place.
    """
    if torch.compiler.is_compiling():
        yield
        return
    modules = list(model.modules())
    compiled = any(map(_is_compiled, modules))
    flags = [(module, name) for module in modules for name in _CHECKPOINTS if vars(module).get(name) is True]
    if (compiled or flags) and model not in _SAID:
        _SAID.add(model)
        why = " and ".join(
            ["is compiled"] * compiled
            + ["computes activations again in the backward (gradient checkpointing)"] * bool(flags)
        )
        warnings.warn(
            f"{type(model).__name__} {why}: where maps are read, it runs eagerly with its activations kept",
            stacklevel=2,
        )
    with ExitStack() as stack:
        if compiled:
            stack.enter_context(_UNCOMPILED)
        for module, name in flags:
            setattr(module, name, False)
            stack.callback(setattr, module, name, True)
        yield


def _is_compiled(module: nn.Module) -> bool:
    return isinstance(vars(module)["_modules"].get("_orig_mod"), nn.Module) or module._compiled_call_impl is not None


class _Uncompiled:
    """Tell torch to run compiled functions as they are written while at least one thread asks for it."""

    def __init__(self) -> None:
        self._lock, self._asking, self._stance = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._asking:
                self._stance.enter_context(torch.compiler.set_stance("force_eager"))
            self._asking += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._asking -= 1
            if not self._asking:
                self._stance.close()


_UNCOMPILED = _Uncompiled()
