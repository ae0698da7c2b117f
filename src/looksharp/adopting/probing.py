"""Check that a network is a classifier of images through which gradients pass."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn

from looksharp.attention.recording import logits_of

__all__ = ["check_input", "check_precision", "outputs_of"]


def check_input(network: nn.Module, what: str) -> int:
    """Return the number of channels that a network reads.

    Args:
        network: the network.
        what: its name, for messages.

    Raises:
        ValueError: if it has no classifier, needs more than images, or reads neither one channel nor three.
    """
    if getattr(network, "num_classes", None) == 0:  # as timm writes it
        raise ValueError(
            f"model {what} has no classifier: its output is features; name one that was trained to classify"
        )
    needed = _needed(network)
    if len(needed) > 1:
        raise ValueError(
            f"model {what} needs {len(needed)} inputs, {', '.join(needed)}, where only images are known; write a "
            f"function that returns it with {needed[1]} fixed"
        )
    first = next((each for each in network.modules() if isinstance(each, nn.Conv2d)), None)
    channels = 3 if first is None else first.in_channels
    if channels not in (1, 3):
        raise ValueError(
            f"model {what} reads images of {channels} channels, but image files have three; write a function that "
            f"returns it behind a layer which makes {channels} of them"
        )
    return channels


def check_precision(network: nn.Module, what: str) -> torch.dtype | None:
    """Return the precision of half-precision parameters; None where there are none.

    Raises:
        ValueError: if the network is quantized.
    """
    quantized = next((name for name, each in network.named_modules() if _is_quantized(each)), None)
    if quantized is not None:
        raise ValueError(
            f"model {what} is quantized ({quantized or type(network).__name__}): no gradient passes it; adopt the "
            f"model before that"
        )
    return next((p.dtype for p in network.parameters() if p.dtype in (torch.float16, torch.bfloat16)), None)


def outputs_of(network: nn.Module, channels: int, size: tuple[int, int], what: str) -> int:
    """Return the number of a network's logits, found by one forward and back of two black images.

    Raises:
        ValueError: if it does not take such images, returns no logits, or no gradient passes.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    images = torch.zeros(2, channels, *size, device=device, requires_grad=True)
    try:
        output = network.eval()(images)
    except Exception as error:  # whatever the user's code may raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"model {what} does not take images of {size[0]} x {size[1]} px: {reason:.200}; check --image_size"
        ) from None
    logits = _logits(output, what)
    if not logits.requires_grad or torch.autograd.grad(logits.sum(), images, allow_unused=True)[0] is None:
        raise ValueError(
            f"model {what} lets no gradient pass from its logits to the images, which maps need; adopt it without "
            f"no_grad, detach or quantization inside"
        )
    return logits.shape[1]


def _logits(output: object, what: str) -> Tensor:
    try:
        logits = logits_of(output)
    except TypeError as error:
        keys = f" (it has {', '.join(map(str, output))})" if isinstance(output, dict) else ""
        raise ValueError(
            f"model {what}: {error}{keys}; write a function that returns a model of logits (images, classes)"
        ) from None
    if logits.shape[0] != 2:
        raise ValueError(f"model {what} returns {logits.shape[0]} rows of logits for 2 images; it must return one each")
    return logits


def _needed(network: nn.Module) -> list[str]:
    """Return the names of a forward's arguments that have no default."""
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):  # compiled
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in parameters if each.default is each.empty and each.kind in kinds]


def _is_quantized(module: nn.Module) -> bool:
    if ".quantized" in type(module).__module__ or "bitsandbytes" in type(module).__module__:
        return True
    return any(value.is_quantized or value.dtype == torch.int8 for value in module.parameters(recurse=False))
