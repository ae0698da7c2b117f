"""Transformers whose layers attend to all tokens of an image: attention weights, and what the classifier reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from threading import Lock
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from looksharp.attention.layout import layout_of
from looksharp.attention.probing import untouched_forward
from looksharp.attention.recording import first_tensor, logits_of, unwrapped, with_first
from looksharp.attention.replaced import replaced_within
from looksharp.attention.threads import hook_here, lock_of
from looksharp.attention.weights import AttentionWeights, Weights, weight_gradients

__all__ = ["TokenPass", "Tokens", "attend_tokens", "tokens_of"]

_CHANNELS = ("ChannelAttention", "ChannelAttentionV2", "CrossCovarianceAttn", "XCA")
"""Classes of modules that attend to channels, which may be as many as there are tokens."""

# Found by network and image size, because finding costs a forward and a backward.
_FOUND: WeakKeyDictionary[nn.Module, dict[tuple[int, int], Tokens]] = WeakKeyDictionary()
_KEEPING = Lock()


@dataclass(frozen=True)
class Tokens:
    """Places in a transformer where every token of an image attends to every other.

    Attributes:
        blocks: the block around each attention, in the order in which they run.
        attending: the modules that attend, in that order, and the one that pools the tokens where `read` is None.
        layer: the last of the blocks' modules that attend; its tokens are laid out as the map.
        read: share (N,) of each token in what the classifier reads of the last block, such as 1 for the class token, or
            1/N for each patch that is averaged; None if an attention of one query pools the tokens.

    """

    blocks: tuple[str, ...]
    attending: tuple[str, ...]
    layer: str
    read: Tensor | None


@dataclass(frozen=True)
class TokenPass:
    """One forward of a transformer and its attention weights.

    Attributes:
        network: the network without wrappers.
        tokens: its attentions.
        logits: (B, C); they carry a graph if one was asked for.
        weights: each block's weights (B, heads, N, N).
        rows: what is read of the last block's tokens, for each image (B, 1, N): `Tokens.read`, or the pool's weights.
        pool: weights (B, heads, 1, N) of an attention that pools the last block's tokens; None without one.
        image_size: (height, width).
        classified: tokens (B, N, C) of each block, where each is classified; they carry a graph.

    """

    network: nn.Module
    tokens: Tokens
    logits: Tensor
    weights: list[Weights]
    rows: Tensor
    pool: Weights | None
    image_size: tuple[int, int]
    classified: list[Tensor]

    def to_map(self, relevance: Tensor) -> Tensor:
        """Lay the relevance of tokens (B, K, N) out as maps (B, K, h, w), without class and register tokens."""
        columns = relevance.transpose(1, 2)  # (B, N, K)
        return layout_of(self.network, self.tokens.layer, columns, self.image_size).to_map(columns)


def tokens_of(model: nn.Module, images: Tensor) -> Tokens:
    """Find where a transformer attends, and which tokens its classifier reads.

    Two images go forward and back once per network and image size, and the result is kept; nothing of the network
    changes. The tokens read are those whose attention in the last block has a part in the logits, or in what enters
    the last linear layers, since a new classifier may be all zeros.

    Args:
        model: any classifier.
        images: (B, 3, H, W) of the size in question.

    Raises:
        ValueError: if the network has no attention, or none over all of an image's tokens, as Swin's windows and
            layers that pool tokens; if a block attends more than once; if the tokens fit no grid. One line.

    Example:
        >>> import timm
        >>> small = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 12}
        >>> net = timm.create_model("vit_tiny_patch16_224", num_classes=3, **small)
        >>> tokens_of(net, torch.rand(2, 3, 32, 32)).blocks
        ('blocks.0', 'blocks.1')

    """
    network, size = unwrapped(model), (images.shape[-2], images.shape[-1])
    with lock_of(network):
        with _KEEPING:
            known = _FOUND.setdefault(network, {})
        if size not in known:
            known[size] = _find(network, images[:2])
        return known[size]


def attend_tokens(model: nn.Module, images: Tensor, *, gradients: bool = False, each_layer: bool = False) -> TokenPass:
    """Run a transformer once and keep its attention weights; nothing of the network changes.

    Args:
        model: a transformer, in whatever mode.
        images: (B, 3, H, W).
        gradients: keep a graph, so that scores can be differentiated by weights; frozen parameters do not matter.
        each_layer: classify the tokens of each block: logits are (blocks * B, C), the first block's first, and each
            has a gradient by its own block's weights alone.

    Raises:
        ValueError: as `tokens_of`; with `each_layer`, if what follows the blocks does not take each block's tokens.
    """
    network, tokens = unwrapped(model), tokens_of(model, images)
    classified: list[Tensor] = []
    with lock_of(network), ExitStack() as stack:
        if each_layer:
            _classify_each(stack, network, tokens.blocks, len(images), classified)
        recorded = AttentionWeights()
        replaced_within(stack, map(network.get_submodule, tokens.attending), recorded)
        try:
            output = _forward(network, entering(images) if gradients else images, gradients)
        except RuntimeError as error:
            if not each_layer:
                raise
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{type(network).__name__} does not classify the tokens of each block: {reason}") from None
    weights, behind = recorded.found[: len(tokens.blocks)], recorded.found[len(tokens.blocks) :]
    if tokens.read is None:
        pool, rows = behind[0], behind[0].plain().mean(1)
    else:
        last = weights[-1].plain()
        pool, rows = None, tokens.read.to(last).expand(len(last), 1, -1)
    size = (images.shape[-2], images.shape[-1])
    return TokenPass(network, tokens, logits_of(output), weights, rows, pool, size, classified)


def _forward(network: nn.Module, images: Tensor, gradients: bool) -> object:
    if any(module.training for module in network.modules()):
        return untouched_forward(network, images, gradients)
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        return network(images)


def _classify_each(
    stack: ExitStack, network: nn.Module, blocks: Sequence[str], images: int, outputs: list[Tensor]
) -> None:
    """Give what follows the last block the tokens of every block as one batch; blocks read detached tokens."""
    passed: list[Tensor] = []

    def enter(block: str, args: tuple[object, ...], named: dict[str, object]) -> None:
        if passed and not any(each is passed[-1] for each in (*args, *named.values())):
            raise RuntimeError(f"block {block!r} does not read what the block before returns")

    def leave(block: str, output: object) -> object:
        tokens = first_tensor(output)
        if tokens is None or tokens.ndim != 3 or len(tokens) != images:
            raise RuntimeError(f"block {block!r} does not return tokens (B, N, C)")
        outputs.append(tokens)
        # A copy, because what follows may write in place.
        passed.append(tokens.detach().requires_grad_().clone() if block != blocks[-1] else torch.cat(outputs))
        return with_first(output, passed[-1])

    for block in blocks:
        module = network.get_submodule(block)
        before = partial(enter, block)
        hook_here(stack, module.register_forward_pre_hook, lambda m, a, k, f=before: f(a, k), with_kwargs=True)
        hook_here(stack, module.register_forward_hook, lambda m, a, output, block=block: leave(block, output))


def entering(images: Tensor) -> Tensor:
    """Return a copy of images at which a graph starts, whatever is frozen."""
    with torch.inference_mode(False):
        return images.detach().clone().requires_grad_()


@dataclass(frozen=True)
class _Call:
    """An attention in a probing forward: weights, module, and the shapes of tokens that entered it or one around it."""

    weights: Weights
    name: str
    entered: tuple[int, ...] | None


def _find(network: nn.Module, images: Tensor) -> Tokens:
    calls, output, heads = _probe(network, images)
    kind, count = type(network).__name__, len(images)
    if not calls:
        raise ValueError(f"{kind} computes no attention between tokens; choose a mechanism that reads features")
    # Of one query for all tokens; it may run and yet not be read.
    pooling = len(calls) > 1 and tuple(calls[-1].weights.values.shape[2:]) == (1, calls[-2].weights.values.shape[-1])
    attending = calls[:-1] if pooling else calls
    for call in attending:
        _check_global(network, call, count)
    tokens = {call.weights.values.shape[-1] for call in attending}
    if len(tokens) > 1:
        raise ValueError(
            f"{kind} has layers of {' and '.join(map(str, sorted(tokens)))} tokens, which do not correspond"
        )
    names = [call.name for call in attending]
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise ValueError(f"{kind} attends more than once in {twice!r}, which no product of its layers describes")
    layer, size = attending[-1].name, (images.shape[-2], images.shape[-1])
    layout_of(network, layer, attending[-1].weights.values.new_empty(1, *tokens, 1), size)  # raises if there is no grid
    logits = logits_of(output)
    if pooling and _reach(logits, heads, calls[-1].weights) is not None:
        return Tokens(_blocks(network, names), (*names, calls[-1].name), layer, None)
    read = _reach(logits, heads, attending[-1].weights)
    if read is None:
        raise ValueError(f"the classifier of {kind} reads nothing of its last attention, {layer!r}")
    return Tokens(_blocks(network, names), tuple(names), layer, read / read.sum())


def _probe(network: nn.Module, images: Tensor) -> tuple[list[_Call], object, list[Tensor]]:
    """Run a network once; return its attentions, its output, and what entered its linear layers as vectors (B, C)."""
    running: list[tuple[str, tuple[int, ...] | None]] = []
    calls: list[_Call] = []
    heads: list[Tensor] = []

    def begin(name: str, module: nn.Module, args: tuple[object, ...]) -> None:
        entered = first_tensor(args)
        running.append((name, None if entered is None or entered.ndim != 3 else tuple(entered.shape)))
        if isinstance(module, nn.Linear) and entered is not None and entered.ndim == 2:
            heads.append(entered)

    def end(*_: object) -> None:
        running.pop()

    def notice(weights: Weights) -> None:
        entered = next((shape for _, shape in reversed(running) if shape is not None), None)
        calls.append(_Call(weights, running[-1][0], entered))

    with ExitStack() as stack:
        for name, module in network.named_modules():
            hook_here(stack, module.register_forward_pre_hook, lambda m, args, name=name: begin(name, m, args))
            hook_here(stack, module.register_forward_hook, end)
        stack.enter_context(AttentionWeights(notice))
        return calls, untouched_forward(network, entering(images), gradients=True), heads


def _check_global(network: nn.Module, call: _Call, images: int) -> None:
    """Refuse weights that are not those of all tokens of an image."""
    shape, kind = tuple(call.weights.values.shape), type(network).__name__
    if len(shape) != 4 or shape[0] != images:
        raise ValueError(
            f"{kind} attends within windows or other parts of an image: {call.name!r} has weights of shape {shape} for "
            f"{images} images; choose a mechanism that reads features"
        )
    tokens = shape[-1]
    among_channels = type(network.get_submodule(call.name)).__name__ in _CHANNELS
    if among_channels or shape[-2] != tokens or tokens not in (call.entered or (tokens,))[:2]:
        raise ValueError(
            f"{kind} does not attend from each token to each: {call.name!r} has weights of shape {shape[2:]}; choose a "
            f"mechanism that reads features"
        )


def _blocks(network: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Return the module around each attention: its name without the part that all of them end in."""
    paths = [name.split(".") for name in names]
    if len(paths) > 1:
        same = [len(set(parts)) == 1 for parts in zip(*(reversed(path) for path in paths), strict=False)]
        ending = same.index(False) if False in same else len(same)
        return tuple(".".join(path[: len(path) - ending]) for path in paths)
    (path,) = paths
    for depth in range(len(path), 0, -1):
        if isinstance(network.get_submodule(".".join(path[: depth - 1])), nn.Sequential | nn.ModuleList):
            return (".".join(path[:depth]),)
    return (names[0],)


def _reach(logits: Tensor, heads: Sequence[Tensor], weights: Weights) -> Tensor | None:
    """Return which queries (N,) reach the logits, or the inputs of linear layers where these are zero; None if none."""
    for outputs in ([logits], [each for each in heads if each.requires_grad]):
        # Not plain sums: that of a normalised vector does not change.
        chosen = [torch.linspace(-1, 1, each.shape[-1]).square().to(each).expand_as(each) for each in outputs]
        if outputs:
            (gradient,) = weight_gradients(outputs, chosen, [weights])
            reach = gradient.abs().amax((0, 1, 3))
            if reach.any():
                return reach > 1e-6 * reach.max()
    return None
