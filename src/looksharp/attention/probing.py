"""Forward and backward passes that show the inputs and outputs of each module of a network."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from looksharp.attention.buffers import forward_on_copies
from looksharp.attention.layout import layout_of
from looksharp.attention.recording import first_tensor, logits_of, with_first
from looksharp.attention.threads import hook_here

__all__ = ["Call", "probe", "reads_patches", "untouched_forward"]


@dataclass(frozen=True)
class Call:
    """One module's call in a probing forward; sizes (h, w) of its first input and its output, if they are maps.

    `widths` are the channels of both, 0 where there is no map. `repeated` marks a map of more images than went in,
    as of a module that runs once per task.
    `tokens` says that the output is (B, N, C), or a map with something beside it, as class tokens are; `unplaced`
    are tokens that fit no grid of the image's shape.
    """

    name: str
    module: nn.Module
    before: tuple[int, int] | None
    after: tuple[int, int] | None
    widths: tuple[int, int]
    repeated: bool
    tokens: bool
    unplaced: bool

    @property
    def spans_stages(self) -> bool:
        """Return True if more than one stage may lie inside: a side shrinks to a third or less; a stride halves it."""
        if self.before is None or self.after is None:
            return True
        return self.before[0] >= 3 * self.after[0] or self.before[1] >= 3 * self.after[1]


def untouched_forward(network: nn.Module, images: Tensor, gradients: bool = False) -> object:
    """Run a network with or without a graph; no buffer, mode or random state changes."""
    devices = [images.device] if images.is_cuda else []
    with torch.inference_mode(False), torch.random.fork_rng(devices), torch.set_grad_enabled(gradients):
        return forward_on_copies(network, images)


def probe(network: nn.Module, images: Tensor) -> dict[str, Call]:
    """Run the network once and return every module's call, in the order in which they end."""
    calls: dict[str, Call] = {}
    image_size = (images.shape[-2], images.shape[-1])

    def size_and_width(name: str, value: object) -> tuple[tuple[int, int] | None, int]:
        found = first_tensor(value)
        if found is None or found.ndim not in (3, 4):
            return None, 0
        try:
            shape = layout_of(network, name, found, image_size).to_map(found).shape
        except ValueError:
            return None, 0
        return (shape[-2], shape[-1]), shape[1]

    def note(name: str, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        # The input of the first layers is the image, whatever the layout within.
        read, made = first_tensor(args), first_tensor(output)
        is_image = read is not None and read.shape[-2:] == image_size
        before, wide = (image_size, 0) if is_image else size_and_width(name, args[0] if args else None)
        calls.pop(name, None)
        alone = made is output  # and not the first of several
        repeated = made is not None and alone and made.ndim == 4 and len(made) != len(images)
        parts, unplaced = False, False
        after, width = size_and_width(name, output)
        if made is not None and made.ndim == 3:
            parts = len(made) != len(images)  # windows, or the pixels of a patch
            unplaced = after is None and not parts and made.shape[1] > 1
        tokens = unplaced or isinstance(output, tuple | list) or (made is not None and made.ndim == 3)
        after = None if parts else after
        calls[name] = Call(name, module, before, after, (wide, width), repeated, tokens, unplaced)

    with ExitStack() as stack:
        for name, module in network.named_modules():
            if name:
                hook_here(stack, module.register_forward_hook, lambda m, a, o, name=name: note(name, m, a, o))
        untouched_forward(network, images)
    return calls


def reads_patches(network: nn.Module, layer: str, images: Tensor) -> bool | None:
    """Test by one gradient whether the logits depend on the patches in a layer's output; None if unknown.

    The gradient is that of the last linear layer's input, since a new classifier may be all zeros.
    """
    if images.is_meta:
        return None
    read: list[Tensor] = []
    entry: list[Tensor] = []

    def enter(_module: nn.Module, _args: object, output: object) -> object:
        tokens = first_tensor(output)
        if tokens is None:
            return output
        entry[:] = [tokens.detach().requires_grad_()]
        copy = entry[0].clone()  # what follows may write in place
        return with_first(output, copy)

    def keep(_module: nn.Module, args: tuple[object, ...], _output: object) -> None:
        found = first_tensor(args)
        if found is not None and found.ndim == 2:
            read[:] = [found]

    with ExitStack() as stack:
        hook_here(stack, network.get_submodule(layer).register_forward_hook, enter)
        for module in network.modules():
            if isinstance(module, nn.Linear):
                hook_here(stack, module.register_forward_hook, keep)
        output = untouched_forward(network, images, gradients=True)
    head = read[0] if read else logits_of(output)
    if not entry or not head.requires_grad:
        return None
    # Not a plain sum: that of a normalised vector does not change.
    weights = torch.linspace(-1, 1, head.shape[-1], device=head.device, dtype=head.dtype).square()
    found: tuple[Tensor | None, ...] = torch.autograd.grad(head, entry, weights.expand_as(head), allow_unused=True)
    gradient = found[0]
    if gradient is None:
        return False
    if not gradient.any():  # dead for these images, as for a constant one under BatchNorm
        return None
    size = (images.shape[-2], images.shape[-1])
    patches = layout_of(network, layer, gradient, size).to_map(gradient)
    return bool(patches.abs().amax() > 1e-6 * gradient.abs().amax())
