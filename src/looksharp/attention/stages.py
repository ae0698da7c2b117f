"""Find the ends of a backbone's last stages without being told their names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from looksharp.attention.eager import eagerly
from looksharp.attention.probing import Call, probe, reads_patches
from looksharp.attention.recording import unwrapped
from looksharp.attention.threads import lock_of
from looksharp.attention.wrapping import backbone_path

__all__ = ["LastStage", "last_stage", "last_stages", "stage_at"]


_STEM = 0.03
"""Share of the stages' parameters below which all stages but the last are a stem."""

# Layers by network, image size and count: finding them costs a forward.
_FOUND: WeakKeyDictionary[nn.Module, dict[tuple[tuple[int, int], int], tuple[str, ...]]] = WeakKeyDictionary()
_KEEPING = Lock()


def last_stages(model: nn.Module, images: Tensor, count: int = 2) -> tuple[str, ...]:
    """Find the layers that end the last `count` stages that still have positions, the earliest first.

    A stage is a run of layers of one resolution that holds parameters; it ends where the network next pools or strides.
    In a network of one resolution throughout (ViT) the stages are blocks, the last one and one a quarter of the depth
    before it. The classifier reads the positions of each layer: where a class token reads nothing of the last block's
    output, the layer is the norm before its attention. Two images go forward and back once per network and image size,
    and the result is kept; no buffer, mode or random state changes. In a `Wrapping` the stages are those of its
    backbone.

    Args:
        model: any classifier.
        images: (B, 3, H, W) of the size that the stages are wanted for.
        count: number of stages.

    Raises:
        ValueError: if `count` is below 1, or there are fewer stages with more than one position, or only a stem has
            some; name layers yourself then.

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
            with eagerly(model):
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
    calls = probe(network, images[:2])
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
    calls = probe(network, images[:2])
    if name not in calls:
        raise ValueError(f"cut {name!r} must be a module that the forward of {type(network).__name__} calls")
    return _stage_from(network, calls, name)


def _stage_from(network: nn.Module, calls: dict[str, Call], name: str) -> LastStage:
    def is_map(call: Call | None) -> bool:
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


def _stages(network: nn.Module, calls: dict[str, Call]) -> list[list[Call]]:
    """Divide the calls that have positions into runs of one resolution; a lone pooling is no stage."""
    path = backbone_path(network)
    calls_within = _units(network.get_submodule(path), f"{path}." if path else "", calls)
    units = [unit for unit in calls_within if unit.after is not None and max(unit.after) > 1]
    runs = [list(run) for _, run in itertools.groupby(units, key=lambda unit: unit.after)]
    # What has no parameters is a pooling, or the weights of an attention, and ends no stage.
    kept = [unit for run in runs if any(_has_parameters(unit.module) for unit in run) for unit in run]
    return [list(run) for _, run in itertools.groupby(kept, key=lambda unit: unit.after)]


def _find(network: nn.Module, images: Tensor, count: int) -> tuple[str, ...]:
    calls = probe(network, images[:2])
    ends = [stage[-1].name for stage in _stages(network, calls)]
    whole = len(ends) == 1 or _only_stems(network, calls)
    blocks = _blocks(network, calls, count, images[:2]) if whole else []
    ends = blocks or _all_read(network, calls, ends, count, images[:2])
    if ends:
        _check_behind(network, calls, ends[-1])
    if len(ends) < count:
        raise ValueError(
            f"layers must be named for {type(network).__name__} at {images.shape[-2]}x{images.shape[-1]} px: "
            f"of {count} stages with more than one position, found {len(ends)} ({', '.join(ends) or 'none'})"
        )
    return tuple(ends[-count:])


def _only_stems(network: nn.Module, calls: dict[str, Call]) -> bool:
    """Return True if only a stem precedes the last stage: it holds few of the stages' parameters."""
    sizes = [sum(_count(unit.module) for unit in stage) for stage in _stages(network, calls)]
    return len(sizes) > 1 and sum(sizes[:-1]) < _STEM * sum(sizes)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _check_behind(network: nn.Module, calls: dict[str, Call], end: str) -> None:
    """Refuse to take a stem for the last layer, where the blocks behind it have tokens that are laid out in no grid."""
    ordered = list(calls.values())
    place = next(number for number, call in enumerate(ordered) if call.name == end)
    blocks = [c.name for c in ordered[place + 1 :] if c.unplaced and next(c.module.children(), None) is not None]
    if len(blocks) > 1:
        raise ValueError(
            f"layers must be named for {type(network).__name__}: its blocks ({blocks[-1]!r} the last) return tokens "
            f"that fit no grid of the image's shape; the last layer with a map is {end!r}, near the images"
        )


def _units(module: nn.Module, prefix: str, calls: dict[str, Call]) -> Iterator[Call]:
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
        if call is not None and not inner:
            yield from _before_downsampling(call, calls)
        yield from inner or ([call] if call else [])


def _before_downsampling(call: Call, calls: dict[str, Call]) -> list[Call]:
    """Return the blocks of a stage that ends in its downsampling, as those of transformers' Swin do.

    They have as many channels as come in; what a block of other kinds widens before its stride has not.
    """
    if call.before is None or call.before == call.after:
        return []
    units = [unit for unit in _units(call.module, f"{call.name}.", calls) if unit.after == call.before]
    width = call.widths[0]
    blocks = [u for u in units if next(u.module.children(), None) is not None and u.widths == (width, width)]
    return blocks if 2 * sum(_count(block.module) for block in blocks) > _count(call.module) else []


def _blocks(network: nn.Module, calls: dict[str, Call], count: int, images: Tensor) -> list[str]:
    """Choose evenly spaced blocks of a network of one resolution, at the layer whose patches the head reads.

    A head that reads the class token alone reads nothing of the last block's patches: there the norm before the last
    attention is the last layer whose patches count. A head that reads the patches themselves reads the block's output;
    the norm within the block is bypassed by the residual and holds a small part of it.
    """
    final = _stages(network, calls)[-1]
    stage, size = sum(_count(unit.module) for unit in final), final[-1].after
    blocks = _repeated_blocks(network, calls, size)
    if len(blocks) < count or 2 * sum(_count(block.module) for block in blocks) < stage:
        return []
    step = max(len(blocks) // 4, 1)
    chosen = blocks[::-1][: step * count : step][::-1]
    last = chosen[-1]
    if last.after == size and reads_patches(network, last.name, images):
        return [block.name for block in chosen]
    norms = [name for name in calls if name.startswith(f"{last.name}.") and _is_norm(calls[name].module)]
    placed = [name for name in norms if calls[name].after == size]
    known = placed[:1] if images.is_meta else placed[::-1]
    read = next((name for name in known if reads_patches(network, name, images) is not False), last.name)
    names = [block.name + read.removeprefix(last.name) for block in chosen]
    return names if all(name in calls for name in names) else [block.name for block in chosen]


def _repeated_blocks(network: nn.Module, calls: dict[str, Call], size: tuple[int, int] | None) -> list[Call]:
    """Return the calls of the blocks of which a network of one resolution consists, in order.

    They are of the kind that makes the longest sequence of modules with modules inside, wherever one stands.
    """
    path = backbone_path(network)
    inside = {name.rpartition(".")[0] for name, call in calls.items() if call.after == size}
    sequences = []
    for name, module in network.get_submodule(path).named_modules(prefix=path):
        if isinstance(module, nn.Sequential | nn.ModuleList):
            names = [f"{name}.{child}".removeprefix(".") for child, _ in module.named_children()]
            found = [calls[child] for child in names if child in calls]
            sequences.append([c for c in found if c.after == size or (c.after is None and c.name in inside)])
    compound = [[call for call in found if next(call.module.children(), None) is not None] for found in sequences]
    longest = max(compound, key=len, default=[]) or max(sequences, key=len, default=[])
    kinds = {type(call.module) for call in longest}
    blocks = {call.name for found in sequences for call in found if {type(call.module)} == kinds}
    return [call for call in calls.values() if call.name in blocks] or longest


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) or "norm" in type(module).__name__.lower()


def _all_read(network: nn.Module, calls: dict[str, Call], ends: list[str], count: int, images: Tensor) -> list[str]:
    """Return the last `count` ends of stages, each one read by what is classified."""
    found: list[str] = []
    for end in reversed(ends):
        found = _read(network, calls, end, images) + found
        if len(found) == count:
            break
    return found


def _read(network: nn.Module, calls: dict[str, Call], end: str, images: Tensor) -> list[str]:
    """Return the end of a stage or, where nothing reads its patches, the last norm or block before it that is read."""
    if not calls[end].tokens or reads_patches(network, end, images) is not False:
        return [end]
    ordered = list(calls)
    for name in ordered[: ordered.index(end)][::-1]:
        call = calls[name]
        whole = _is_norm(call.module) or next(call.module.children(), None) is not None
        alike = call.after == calls[end].after and call.widths[1] == calls[end].widths[1]
        if whole and alike and reads_patches(network, name, images):
            return [name]
    return []
