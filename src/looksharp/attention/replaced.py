"""Replace functions of torch for the calls of one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from looksharp.attention.threads import hook_here

__all__ = ["ReplacedFunctions", "Replacements", "replaced_within"]

Replacements = Mapping[Callable[..., object], Callable[..., object]]
"""Function of torch -> the function to call in its place."""


class ReplacedFunctions(TorchFunctionMode):
    """Call other functions in place of torch's inside this context; nothing changes outside its own thread.

    Args:
        replacements: function of torch -> the function to call with the same arguments.
        active: asked at every call of one of these functions; calls for which it is False are left alone.

    """

    def __init__(self, replacements: Replacements, active: Callable[[], bool]) -> None:
        super().__init__()
        self.replacements, self.active = replacements, active

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        replacement = self.replacements.get(func)
        if replacement is None or not self.active():
            replacement = func
        return replacement(*args, **(kwargs or {}))


def replaced_within(stack: ExitStack, modules: Iterable[nn.Module], replaced: ReplacedFunctions) -> None:
    """Replace functions while some modules run alone, until the stack is left.

    Everywhere else torch is called directly: each call inside the context costs some microseconds more.
    """
    running = 0

    def enter(*_: object) -> None:
        nonlocal running
        if not running:
            replaced.__enter__()
        running += 1

    def leave(*_: object) -> None:
        nonlocal running
        running -= 1
        if not running:
            replaced.__exit__(None, None, None)

    for module in modules:
        hook_here(stack, module.register_forward_pre_hook, enter)
        hook_here(stack, module.register_forward_hook, leave, always_call=True)
