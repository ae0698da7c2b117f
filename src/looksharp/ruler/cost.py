"""Count the operations of an explanation, apart for its forwards and its backwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from looksharp.attention.unfused import UnfusedAttention

__all__ = ["Cost", "cost_of"]


class Cost(NamedTuple):
    """The cost of explaining one image, in forwards of the network.

    Attributes:
        forwards: operations of forwards over those of one forward.
        backwards: operations of backwards over those of one forward; a whole backward is about two.
    """

    forwards: float
    backwards: float

    @property
    def total(self) -> float:
        """Return both together."""
        return self.forwards + self.backwards


def cost_of(model: nn.Module, images: Tensor, explain: Callable[[], object], most: float | None = None) -> Cost:
    """Count what `explain` does with these images: matrix products, convolutions and attention, as torch runs them.

    Parts of a forward count as parts: a mechanism that runs only the last stage again costs what that stage costs.

    Args:
        model: the network that is explained.
        images: (B, C, H, W), all that are explained.
        explain: explains them, once.
        most: stop where more forwards than these have been run.

    Returns:
        The cost; NaN where a forward has no such operation.

    Raises:
        ValueError: if the cost exceeds `most`.

    Example:
        >>> net, images = nn.Conv2d(3, 4, 1), torch.rand(2, 3, 8, 8)
        >>> cost_of(net, images, lambda: [net(images), net(images[:1])])
        Cost(forwards=1.5, backwards=0.0)

    """
    # Fused attention is not counted on every device; as matrix products it is.
    with torch.no_grad(), _Counter() as once, UnfusedAttention():
        model(images)
    whole = once.forward or float("nan")
    with _Counter(most=None if most is None else most * whole) as counted, UnfusedAttention():
        try:
            explain()
        except _TooDear:
            raise ValueError(
                f"costs more than {most:,g} forwards an image; raise most, or name it in only to rank it all the same"
            ) from None
    return Cost(counted.forward / whole, counted.backward / whole)


class _TooDear(Exception):
    """More operations were run than allowed."""


class _Counter(TorchDispatchMode):
    """Count operations as torch's own counter does, those of a running backward apart."""

    def __init__(self, most: float | None = None) -> None:
        super().__init__()
        self.most = float("inf") if most is None else most
        self.forward = self.backward = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        count = flop_registry.get(func._overloadpacket)
        if count is None and torch.is_inference_mode_enabled():  # operations then come whole, not in their parts
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        found = func(*args, **kwargs)
        if count is not None:
            operations = int(count(*args, **kwargs, out_val=found))
            if torch._C._current_graph_task_id() == -1:  # no backward is running
                self.forward += operations
            else:
                self.backward += operations
            if self.forward + self.backward > self.most:
                raise _TooDear
        return found
