"""Several threads that use one network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

__all__ = ["hook_here", "lock_of"]

_LOCKS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_CHOOSING = threading.Lock()
_HOOKING = threading.Lock()


def lock_of(network: nn.Module) -> threading.RLock:
    """Return the lock of a network without wrappers; it goes when the network goes."""
    with _CHOOSING:
        return _LOCKS.setdefault(network, threading.RLock())


def hook_here(
    stack: ExitStack, register: Callable[..., RemovableHandle], hook: Callable[..., object], **options: object
) -> None:
    """Register a hook for the calls of this thread, until the stack is left; calls of other threads pass unnoticed.

    Args:
        stack: removes the hook.
        register: a module's method, such as `register_forward_hook`.
        hook: the hook to register.
        options: other arguments of that method.
    """
    own = threading.get_ident() if not torch.compiler.is_compiling() else 0

    def called(*args: object, **kwargs: object) -> object:
        if torch.compiler.is_compiling() or threading.get_ident() == own:
            return hook(*args, **kwargs)
        return None

    # Torch numbers hooks by a counter, which two threads could read at once.
    with nullcontext() if torch.compiler.is_compiling() else _HOOKING:
        handle = register(called, **options)
    stack.callback(handle.remove)
