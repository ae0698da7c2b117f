"""Find the ends of a backbone's last stages without being told their names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from looksharp.attention.buffers import forward_on_copies
from looksharp.attention.layout import layout_of
from looksharp.attention.recording import logits_of, unwrapped
from looksharp.attention.threads import hook_here, lock_of
from looksharp.attention.wrapping import backbone_path

__all__ = ["LastStage", "last_stage", "last_stages", "stage_at", "untouched_forward"]


_STEM = 0.03
"""Share of the stages' parameters below which all stages but the last are a stem."""

# What was found, by network, image size and count: looking costs a forward.
_FOUND: WeakKeyDictionary[nn.Module, dict[tuple[tuple[int, int], int], tuple[str, ...]]] = WeakKeyDictionary()
_KEEPING = Lock()


@dataclass(frozen=True)
class _Call:
    """One module's call in a probing forward; sizes (h, w) of its first input and its output, if they are maps.

    `repeated` is a map of more images than went in: what runs once for each of several tasks has none of an image.
    `tokens` says that the output is (B, N, C); `unplaced` that these fit no grid of the image's shape.
    """

    name: str
    module: nn.Module
    before: tuple[int, int] | None
    after: tuple[int, int] | None
    repeated: bool
    tokens: bool
    unplaced: bool

    @property
    def spans_stages(self) -> bool:
        """Whether more than one stage may lie inside."""
        if self.before is None or self.after is None:
            return True
        return self.before[0] >= 4 * self.after[0] or self.before[1] >= 4 * self.after[1]


def last_stages(model: nn.Module, images: Tensor, count: int = 2) -> tuple[str, ...]:
    """Find the layers that end the last `count` stages that still have positions, the earliest first.

    A stage is a run of layers of one resolution that holds parameters; it ends where the network next pools or
    strides. In a network of one resolution throughout (ViT) the stages are blocks, the last one and one a
    quarter of the depth before it, recorded at the norm before their attention, since a class token reads
    nothing of the last block's output at the patches. Two images go forward once for each
    network and image size, and what is found is kept; no buffer, mode or random state changes. In a network
    around another (`Wrapping`) they are stages of its backbone.

    Args:
        model: any classifier.
        images: (B, 3, H, W) of the size that the stages are wanted for.
        count: how many stages.

    Raises:
        ValueError: if `count` is below 1, or there are fewer stages with more than one position; name layers
            yourself then.

    Example:
        >>> import torch
        >>> from looksharp.networks import CifarResNet
        >>> last_stages(CifarResNet(20, 10), torch.rand(2, 3, 32, 32))
        ('layer2', 'layer3')

    """
    if count < 1:
        raise ValueError(f"count must be at least 1 stage; got {count}")
    network, size = unwrapped(model), (images.shape[-2], images.shape[-1])
    with lock_of(network):
        with _KEEPING:
            known = _FOUND.setdefault(network, {})
        if (size, count) not in known:
            known[size, count] = _find(network, images, count)
        return known[size, count]


@dataclass(frozen=True)
class LastStage:
    """Place of a network's last stage: where it begins, and what classifies behind it.

    Attributes:
        name: its first module that has parameters; pooling before it belongs to what comes earlier.
        end: the last module of the stage in the same `nn.Sequential`, which is where the last stages of VGG and
            DenseNet lie; the first one itself elsewhere.
        hidden: fully connected layers behind the last map, the classifier itself not counted (VGG has two).

    """

    name: str
    end: str
    hidden: int


def last_stage(model: nn.Module, images: Tensor) -> LastStage:
    """Find the beginning of the last stage that still has positions; see `last_stages`.

    Args:
        model: any classifier.
        images: (B, 3, H, W) of the size that the stage is wanted for.

    Raises:
        ValueError: if the network is of one resolution throughout; name the stage yourself then.

    Example:
        >>> import torch
        >>> from looksharp.networks import CifarResNet
        >>> last_stage(CifarResNet(20, 10), torch.rand(2, 3, 32, 32))
        LastStage(name='layer3', end='layer3', hidden=0)

    """
    network = unwrapped(model)
    calls = _probe(network, images[:2])
    stages = _stages(network, calls)
    if len(stages) < 2:
        raise ValueError(
            f"cut must name where the last stage of {type(network).__name__} begins: at "
            f"{images.shape[-2]}x{images.shape[-1]} px its resolution does not change between layers"
        )
    return _stage_from(network, calls, next(unit.name for unit in stages[-1] if _has_parameters(unit.module)))


def stage_at(model: nn.Module, images: Tensor, name: str) -> LastStage:
    """Return the stage that begins at the module `name`; see `last_stage`.

    Raises:
        ValueError: if the network's forward does not call that module.
    """
    network = unwrapped(model)
    calls = _probe(network, images[:2])
    if name not in calls:
        raise ValueError(f"cut {name!r} must be a module that the forward of {type(network).__name__} calls")
    return _stage_from(network, calls, name)


def _stage_from(network: nn.Module, calls: dict[str, _Call], name: str) -> LastStage:
    def is_map(call: _Call | None) -> bool:
        return call is not None and call.after is not None and max(call.after) > 1

    path = name.rpartition(".")[0]
    parent, end = network.get_submodule(path), name
    if type(parent) is nn.Sequential:
        names = [f"{path}.{child}" if path else child for child, _ in parent.named_children()]
        for following in names[names.index(name) :]:
            if not is_map(calls.get(following)):
                break
            end = following
    ordered = list(calls.values())
    last_map = max((place for place, call in enumerate(ordered) if is_map(call)), default=-1)
    connected = [call for call in ordered[last_map + 1 :] if isinstance(call.module, nn.Linear | nn.Conv2d)]
    return LastStage(name, end, max(len(connected) - 1, 0))


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _stages(network: nn.Module, calls: dict[str, _Call]) -> list[list[_Call]]:
    """Divide the calls that have positions into runs of one resolution; a lone pooling is no stage."""
    path = backbone_path(network)
    calls_within = _units(network.get_submodule(path), f"{path}." if path else "", calls)
    units = [unit for unit in calls_within if unit.after is not None and max(unit.after) > 1]
    runs = [list(run) for _, run in itertools.groupby(units, key=lambda unit: unit.after)]
    return [run for run in runs if any(_has_parameters(unit.module) for unit in run)]


def _find(network: nn.Module, images: Tensor, count: int) -> tuple[str, ...]:
    calls = _probe(network, images[:2])
    ends = [stage[-1].name for stage in _stages(network, calls)]
    if len(ends) == 1 or _only_stems(network, calls):
        ends = _blocks(network, calls, count, images[:2]) or ends
    if ends and calls[ends[-1]].tokens and _reads_patches(network, ends[-1], images[:2]) is False:
        ends[-1:] = _last_read(network, calls, ends[-1], images[:2])
    if ends:
        _check_behind(network, calls, ends[-1])
    if len(ends) < count:
        raise ValueError(
            f"layers must be named for {type(network).__name__} at {images.shape[-2]}x{images.shape[-1]} px: "
            f"of {count} stages with more than one position, found {len(ends)} ({', '.join(ends) or 'none'})"
        )
    return tuple(ends[-count:])


def _only_stems(network: nn.Module, calls: dict[str, _Call]) -> bool:
    """Return True if only a stem precedes the last stage: it holds few of the stages' parameters."""
    sizes = [sum(_count(unit.module) for unit in stage) for stage in _stages(network, calls)]
    return len(sizes) > 1 and sum(sizes[:-1]) < _STEM * sum(sizes)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _check_behind(network: nn.Module, calls: dict[str, _Call], end: str) -> None:
    """Refuse to take a stem for the last layer, where the blocks behind it have tokens that are laid out in no grid."""
    ordered = list(calls.values())
    place = next(number for number, call in enumerate(ordered) if call.name == end)
    blocks = [c.name for c in ordered[place + 1 :] if c.unplaced and next(c.module.children(), None) is not None]
    if len(blocks) > 1:
        raise ValueError(
            f"layers must be named for {type(network).__name__}: its blocks ({blocks[-1]!r} the last) return tokens "
            f"that fit no grid of the image's shape; the last layer with a map is {end!r}, near the images"
        )


def untouched_forward(network: nn.Module, images: Tensor, gradients: bool = False) -> Any:
    """Return what the network returns, with or without a graph; no buffer, mode or random state changes."""
    devices = [images.device] if images.is_cuda else []
    with torch.inference_mode(False), torch.random.fork_rng(devices), torch.set_grad_enabled(gradients):
        return forward_on_copies(network, images)


def _probe(network: nn.Module, images: Tensor) -> dict[str, _Call]:
    """Run the network once and return every module's call, in the order in which they end."""
    calls: dict[str, _Call] = {}
    image_size = (images.shape[-2], images.shape[-1])

    def size(name: str, value: Any) -> tuple[int, int] | None:
        value = value[0] if isinstance(value, tuple | list) and value else value
        if not isinstance(value, Tensor) or value.ndim not in (3, 4):
            return None
        try:
            shape = layout_of(network, name, value, image_size).to_map(value).shape
        except ValueError:
            return None
        return shape[-2], shape[-1]

    def note(name: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # The input of the first layers is the image, whatever the layout within.
        first = args[0] if args else None
        is_image = isinstance(first, Tensor) and first.shape[-2:] == image_size
        before = image_size if is_image else size(name, first)
        calls.pop(name, None)
        repeated = isinstance(output, Tensor) and output.ndim == 4 and len(output) != len(images)
        after = size(name, output)
        first = output[0] if isinstance(output, tuple | list) and output else output
        tokens = isinstance(first, Tensor) and first.ndim == 3
        unplaced = after is None and isinstance(first, Tensor) and tokens and first.shape[1] > 1
        calls[name] = _Call(name, module, before, after, repeated, tokens, unplaced)

    with ExitStack() as stack:
        for name, module in network.named_modules():
            if name:
                hook_here(stack, module.register_forward_hook, lambda m, a, o, name=name: note(name, m, a, o))
        untouched_forward(network, images)
    return calls


def _units(module: nn.Module, prefix: str, calls: dict[str, _Call]) -> Iterator[_Call]:
    """Yield the shallowest calls that each lie within one stage, in the order in which they end."""
    children = {f"{prefix}{name}": child for name, child in module.named_children()}
    order = {name: place for place, name in enumerate(calls)}

    def ends(name: str) -> int:
        return max((place for call, place in order.items() if f"{call}.".startswith(f"{name}.")), default=-1)

    for name, child in sorted(children.items(), key=lambda item: ends(item[0])):
        call = calls.get(name)
        if call is not None and call.repeated:
            continue
        inner = list(_units(child, f"{name}.", calls)) if call is None or call.spans_stages else []
        yield from inner or ([call] if call else [])


def _blocks(network: nn.Module, calls: dict[str, _Call], count: int, images: Tensor) -> list[str]:
    """Choose evenly spaced blocks of a network of one resolution, at the layer whose patches the head reads.

    A head that reads the class token alone reads nothing of the last block's patches: there the norm before the last
    attention is the last layer whose patches count. A head that reads the patches themselves reads the block's output;
    the norm within the block is bypassed by the residual and holds a small part of it.
    """
    path = backbone_path(network)
    prefix = f"{path}." if path else ""
    size = _stages(network, calls)[-1][-1].after
    sequences = {
        name: [
            call
            for child, _ in module.named_children()
            if (call := calls.get(f"{prefix}{name}.{child}")) and call.after == size
        ]
        for name, module in network.get_submodule(path).named_modules()
        if isinstance(module, nn.Sequential | nn.ModuleList)
    }
    blocks = max(sequences.values(), key=len, default=[])
    stage = sum(_count(unit.module) for unit in _stages(network, calls)[-1])
    if len(blocks) < count or 2 * sum(_count(block.module) for block in blocks) < stage:
        return []
    step = max(len(blocks) // 4, 1)
    chosen = blocks[::-1][: step * count : step][::-1]
    if _reads_patches(network, blocks[-1].name, images):
        return [block.name for block in chosen]
    found = []
    for block in chosen:
        norms = (n for n, m in block.module.named_modules() if isinstance(m, nn.LayerNorm))
        first = next(norms, "")
        found.append(f"{block.name}.{first}" if first else block.name)
    return found


def _last_read(network: nn.Module, calls: dict[str, _Call], end: str, images: Tensor) -> list[str]:
    """Find the last norm or block before `end` whose patches are read; none if there is none."""
    ordered = list(calls)
    for name in ordered[: ordered.index(end)][::-1]:
        call = calls[name]
        whole = isinstance(call.module, nn.LayerNorm) or next(call.module.children(), None) is not None
        if whole and call.after == calls[end].after and _reads_patches(network, name, images):
            return [name]
    return []


def _reads_patches(network: nn.Module, layer: str, images: Tensor) -> bool | None:
    """Test by one gradient whether the logits depend on the patches in a layer's output; None if unknown.

    The gradient is that of the last linear layer's input, since a new classifier may be all zeros.
    """
    if images.is_meta:
        return None
    read: list[Tensor] = []
    entry: list[Tensor] = []

    def enter(_module: nn.Module, _args: Any, output: Any) -> Any:
        tokens = output[0] if isinstance(output, tuple | list) else output
        entry[:] = [tokens.detach().requires_grad_()]
        copy = entry[0].clone()  # what follows may write in place
        return (copy, *output[1:]) if isinstance(output, tuple | list) else copy

    def keep(_module: nn.Module, args: tuple[Any, ...], _output: Any) -> None:
        if args and isinstance(args[0], Tensor) and args[0].ndim == 2:
            read[:] = [args[0]]

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
    found = torch.autograd.grad(head, entry[0], weights.expand_as(head), allow_unused=True, materialize_grads=True)
    gradient = found[0]
    size = (images.shape[-2], images.shape[-1])
    patches = layout_of(network, layer, gradient, size).to_map(gradient)
    return bool(patches.abs().amax() > 1e-6 * gradient.abs().amax())  # False where nothing is read
