"""Replace functions of torch for the calls of one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

__all__ = ["ReplacedFunctions", "Replacements"]

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
