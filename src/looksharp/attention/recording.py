"""Record named layers' outputs, laid out as maps, during one ordinary forward."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from looksharp.attention.buffers import forward_on_copies
from looksharp.attention.eager import eagerly
from looksharp.attention.layout import layout_of
from looksharp.attention.second_derivative import FastSecondDerivative
from looksharp.attention.threads import hook_here, lock_of
from looksharp.attention.unfused import UnfusedAttention

__all__ = [
    "PooledLinearHead",
    "Recording",
    "answer",
    "find_modules",
    "first_tensor",
    "logits_of",
    "look",
    "record",
    "unwrapped",
    "with_first",
]

# Operations between a feature map and a linear classifier that leave the map's gradient a plain copy of the
# classifier's weight: average pooling over all positions, and changes of shape, memory or precision.
_POOLING = {"MeanBackward1", "AdaptiveAvgPool2DBackward0", "MkldnnAdaptiveAvgPool2DBackward0"}
_RESHAPING = {
    "ViewBackward0",
    "UnsafeViewBackward0",
    "ReshapeAliasBackward0",
    "SqueezeBackward0",
    "SqueezeBackward1",
    "SqueezeBackward2",
    "UnsqueezeBackward0",
    "ToCopyBackward0",
    "PermuteBackward0",
    "TransposeBackward0",
    "CloneBackward0",
}


@dataclass(frozen=True)
class PooledLinearHead:
    """The classifier of a network that ends in average pooling and one linear layer, and the layer it pools."""

    layer: str
    linear: nn.Linear


@dataclass
class Recording(Mapping[str, Tensor]):
    """Feature maps by layer name, each (B, C, h, w), as `record` fills them during a forward.

    Attributes:
        maps: layer name -> feature map (B, C, h, w), part of the graph that leads to the logits.
        entries: layer name -> the graph node through which the rest of the network reads the map.
        behind_prefix: layers of tokens whose prefix (class or register tokens) is left out of the map.
        trainable: False if the forward ran under `no_grad`, or if nothing in the network can be trained.
        last_linear: the linear layer that ran last, with the weight it used, its input and its output.

    """

    layers: tuple[str, ...]
    maps: dict[str, Tensor] = field(default_factory=dict)
    entries: dict[str, Node | None] = field(default_factory=dict)
    behind_prefix: set[str] = field(default_factory=set)
    trainable: bool = True
    last_linear: tuple[nn.Linear, Tensor, Tensor, Tensor] | None = None

    def __getitem__(self, layer: str) -> Tensor:
        if layer in self.layers and layer in self.maps:
            return self.maps[layer]
        if layer in self.layers:
            raise ValueError(
                f"layer {layer!r} did not run: nothing is recorded until the model is called inside "
                f"`with record(...)`, and only for layers that its forward uses"
            )
        raise KeyError(f"layer {layer!r} was not recorded; recorded: {', '.join(self.layers)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def restricted(self, layers: Iterable[str]) -> Recording:
        """Return the same recording, limited to some of its layers."""
        return replace(self, layers=tuple(layers))

    def pooled_linear_head(self, logits: Tensor) -> PooledLinearHead | None:
        """Return the head if `logits` are one linear layer over the mean of a recorded map's positions; else None.

        Read off the autograd graph, so it holds for the forward that was run (dropout in training mode, for
        one, makes it None) and costs neither arithmetic nor a device synchronisation.
        """
        if self.last_linear is None:
            return None
        linear, weight, pooled, output = self.last_linear
        # A weight of another forward, as with `torch.func.functional_call`, says nothing about these logits.
        if output is not logits or weight is not linear.weight:
            return None
        entries = {self.entries[layer]: layer for layer in self.layers if layer in self.entries}
        node, pools = pooled.grad_fn, 0
        while node is not None and node not in entries:
            name = node.name()
            pools += name in _POOLING
            parents = [parent for parent, _ in node.next_functions if parent is not None]
            if len(parents) != 1 or not (name in _POOLING or name in _RESHAPING or _lies_channels_last(node)):
                return None
            node = parents[0]
        if node is None or pools != 1:
            return None
        layer = entries[node]
        # Fewer or more inputs than channels: pooling left positions behind that the linear layer tells apart.
        return PooledLinearHead(layer, linear) if linear.in_features == self.maps[layer].shape[1] else None


def _lies_channels_last(node: Any) -> bool:
    """Return whether a step of the graph only says that means (B, C, 1, 1) have their channels last in memory.

    So adaptive average pooling ends where its map has its channels last.
    """
    if node.name() != "AsStridedBackward1" or node._saved_storage_offset is not None:
        return False
    size, stride = tuple(node._saved_size), tuple(node._saved_stride)
    return node.next_functions[0][0].name() in _POOLING and size[2:] == (1, 1) and stride[:2] == (size[1], 1)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside DistributedDataParallel, DataParallel or `torch.compile`."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def first_tensor(value: object) -> Tensor | None:
    """Return a tensor, or the one that a tuple or list begins with; None for anything else."""
    first = value[0] if isinstance(value, tuple | list) and value else value
    return first if isinstance(first, Tensor) else None


def with_first(value: object, first: Tensor) -> object:
    """Return a value with another tensor in place of the one that `first_tensor` finds."""
    if not isinstance(value, tuple | list):
        return first
    items = [first, *value[1:]]
    return value._make(items) if hasattr(value, "_make") else type(value)(items)


def logits_of(output: object) -> Tensor:
    """Find the logits (B, C) in a model's output: a tensor, a tuple or list, a mapping or an object.

    In a mapping without `logits` they are the one tensor of two dimensions.

    Raises:
        TypeError: if there are no logits to be found.

    """
    named = _in_mapping(output) if isinstance(output, Mapping) else getattr(output, "logits", output)
    found = first_tensor(named)
    if found is None or found.ndim != 2:
        kind = type(output).__name__ if found is None else f"a tensor of shape {tuple(found.shape)}"
        raise TypeError(
            f"output must be logits (B, classes), or a tuple, mapping or object that holds them as its first "
            f"item or as `logits`; got {kind}"
        )
    return found


def _in_mapping(output: Mapping[str, object]) -> object:
    if "logits" in output:
        return output["logits"]
    found = [value for value in output.values() if isinstance(value, Tensor) and value.ndim == 2]
    return found[0] if len(found) == 1 else None


@contextmanager
def record(model: nn.Module, layers: Iterable[str]) -> Iterator[Recording]:
    """Record the outputs of `layers` during the forward that runs inside the `with`.

    The recorded maps are (B, C, h, w) whatever the layer returns: channels-last outputs are permuted, tokens
    (B, N, C) are laid out as a grid without their prefix (class, register) tokens. The network's results do
    not change. The maps are differentiable and lead to the logits even under `torch.no_grad`, under
    `torch.inference_mode` and with every parameter frozen: the graph then starts at the first recorded layer.
    If a layer runs more than once, its last call is kept. Forwards of other threads are not recorded. `.grad`,
    modes, buffers, `requires_grad` and hooks are as before once the `with` ends, even after an exception.

    Args:
        model: any module; wrappers for data parallelism and compilation are unwrapped. What is called inside the `with`
            must be this very module: where it is compiled or checkpointed, it runs eagerly; see `eagerly`.
        layers: names as in `model.named_modules()`.

    Raises:
        ValueError: if a name is no module of the model (the message lists names that are), or if a layer's
            output cannot be laid out as maps.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.LazyLinear(2))
        >>> with record(net, ["0"]) as features:
        ...     logits = net(torch.rand(5, 3, 8, 8))
        >>> features["0"].shape
        torch.Size([5, 4, 6, 6])

    """
    with eagerly(model), _recorded(unwrapped(model), layers, trains=True, several=True) as recording:
        yield recording


@contextmanager
def _recorded(network: nn.Module, layers: Iterable[str], *, trains: bool, several: bool) -> Iterator[Recording]:
    """Record as `record` does; what only training or a batched backward needs is left out unless asked for."""
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    modules = find_modules(network, names)
    frozen = not any(parameter.requires_grad for parameter in network.parameters())
    recording = Recording(names)
    image_size: tuple[int, int] | None = None
    grad_enabled = torch.is_grad_enabled()

    def before(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        nonlocal image_size, grad_enabled
        if torch.is_inference_mode_enabled():
            raise RuntimeError("record must be entered inside `torch.inference_mode()`, not around it")
        grad_enabled = torch.is_grad_enabled()
        recording.trainable = grad_enabled and not frozen
        images = next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor) and a.ndim == 4), None)
        image_size = None if images is None else (images.shape[-2], images.shape[-1])

    def after(*_: object) -> None:
        torch.set_grad_enabled(grad_enabled)

    def keep_linear(module: nn.Linear, args: tuple[Tensor, ...], output: Tensor) -> None:
        if args:
            recording.last_linear = (module, module.weight, args[0], output)

    def keep_output(name: str, output: object) -> object:
        found = first_tensor(output)
        if found is None:
            raise ValueError(f"layer {name!r} returns {type(output).__name__}, not a tensor that has a map")
        torch.set_grad_enabled(True)  # from here on the logits must depend on the map; `after` restores it
        layout = layout_of(network, name, found, image_size)
        features = layout.to_map(found)
        if not features.requires_grad:
            features = features.detach().requires_grad_()
        # The network reads a copy: a later operation may write in place, the recorded map must not change.
        entry = features.clone()
        recording.maps[name], recording.entries[name] = features, entry.grad_fn
        if layout.prefix:
            recording.behind_prefix.add(name)
        return with_first(output, layout.from_map(entry, found))

    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(grad_enabled))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())
        hook_here(stack, network.register_forward_pre_hook, before, with_kwargs=True)
        # A subclass that computes something else (a cosine classifier, say) is no linear layer.
        for linear in (m for m in network.modules() if getattr(type(m), "forward", None) is nn.Linear.forward):
            hook_here(stack, linear.register_forward_hook, keep_linear)
        for name, module in modules.items():
            hook_here(stack, module.register_forward_hook, lambda _m, _a, output, name=name: keep_output(name, output))
        hook_here(stack, network.register_forward_hook, after)
        # Maps that are trained on are differentiated twice, from the first recorded layer on.
        if trains:
            stack.enter_context(FastSecondDerivative(lambda: recording.trainable and bool(recording.maps)))
        if several:
            stack.enter_context(UnfusedAttention(lambda: bool(recording.maps)))
        yield recording


def look(model: nn.Module, images: Tensor, layers: Iterable[str], *, several: bool = True) -> tuple[object, Recording]:
    """Record `layers` in one forward that changes nothing of the model; see `record`.

    No gradient is kept but that of the maps, and BatchNorm in training mode leaves its statistics alone. Threads that
    share a model take turns.

    Args:
        model: any classifier, in whatever mode.
        images: (B, C, H, W), normalised as the model expects.
        layers: names as in `model.named_modules()`.
        several: make ready for the gradients of several classes in one backward, for which attention is unfused.

    Returns:
        What the model returned, and the recording.
    """
    network = unwrapped(model)
    with ExitStack() as stack:
        for context in (lock_of(network), eagerly(model), torch.no_grad()):
            stack.enter_context(context)
        features = stack.enter_context(_recorded(network, layers, trains=False, several=several))
        return _untouched(model, network, images), features


def answer(model: nn.Module, images: Tensor) -> object:
    """Return what one forward without gradients gives, that changes nothing of the model; see `look`."""
    network = unwrapped(model)
    with lock_of(network), torch.no_grad():
        return _untouched(model, network, images)


def _untouched(model: nn.Module, network: nn.Module, images: Tensor) -> object:
    training = any(module.training for module in network.modules())
    return forward_on_copies(network, images) if training else model(images)


def find_modules(network: nn.Module, names: tuple[str, ...]) -> dict[str, nn.Module]:
    """Find the modules with these names.

    Raises:
        ValueError: if a name is no module's (the message lists names that are), or if there is none.
    """
    if not names:
        raise ValueError("layers must name at least one layer; got none")
    known = dict(network.named_modules())
    for name in names:
        if name not in known or not name:
            close = difflib.get_close_matches(name, [n for n in known if n], n=5, cutoff=0.5)
            top = [child for child, _ in network.named_children()]
            raise ValueError(
                f"layer {name!r} is not in {type(network).__name__}; "
                + (f"did you mean {', '.join(map(repr, close))}? " if close else "")
                + f"its top-level layers are {', '.join(top) or 'none'}"
            )
    return {name: known[name] for name in names}
