"""Run a model many times on changed images, or on changed features behind a layer, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from looksharp.attention.channels_last import fastest_format
from looksharp.attention.layout import layout_of
from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import find_modules, first_tensor, logits_of, unwrapped, with_first
from looksharp.attention.threads import hook_here, lock_of

__all__ = [
    "Advance",
    "Variant",
    "advanced",
    "chunks",
    "counting",
    "evaluating",
    "images_at_once",
    "rerun_behind",
    "run_in_chunks",
]

Advance = Callable[[int], object]
"""Called with the number of forwards that single images took; a backward counts as two."""

Variant = Callable[[Tensor, Tensor], Tensor]
"""A function (features (1, C, h, w), places (n,)) -> the variants (n, C, h, w) at these places."""

_ADVANCE: ContextVar[Advance | None] = ContextVar("advance", default=None)

_PIXELS = {"cpu": 8 * 224 * 224}
_MORE_PIXELS = 32 * 224 * 224
"""Pixels of one chunk, at most 256 images: larger ones leave a processor's cache, and took a tenth longer."""

# Whether what follows a layer takes more maps than images went in, by network and layer: testing costs two forwards.
_BROADCASTS: WeakKeyDictionary[nn.Module, dict[str, bool]] = WeakKeyDictionary()


@contextmanager
def counting(advance: Advance) -> Iterator[None]:
    """Call a function with the number of forwards of each rerun inside the `with`, as for a progress bar."""
    token = _ADVANCE.set(advance)
    try:
        yield
    finally:
        _ADVANCE.reset(token)


def advanced(forwards: int) -> None:
    """Tell `counting` of forwards that were run."""
    advance = _ADVANCE.get()
    if advance is not None:
        advance(forwards)


def images_at_once(images: Tensor) -> int:
    """Return how many images of this size (..., H, W) one forward takes."""
    pixels = _PIXELS.get(images.device.type, _MORE_PIXELS)
    return max(1, min(256, pixels // (images.shape[-2] * images.shape[-1])))


def chunks(count: int, images: Tensor, chunk: int | None = None, *, even: bool = False) -> Iterator[Tensor]:
    """Yield places 0 to `count` in runs of what one forward of such images takes.

    Args:
        count: number of places.
        images: (..., H, W), of the size that goes through the model.
        chunk: places in a run; chosen by the images' size if not given.
        even: make as many runs as it takes, but of equal lengths to within one.
    """
    size, places = chunk or images_at_once(images), torch.arange(count, device=images.device)
    yield from places.tensor_split(-(-count // size)) if even else places.split(size)


@torch.no_grad()
def run_in_chunks(model: nn.Module, images: Tensor, chunk: int | None = None) -> Tensor:
    """Return logits (N, classes), float32 or float64, of any number of images.

    Args:
        model: a classifier in evaluation mode.
        images: (N, C, H, W).
        chunk: images of one forward; chosen by their size if not given.

    Raises:
        ValueError: if the model is in training mode.
    """
    network = evaluating(model)
    with lock_of(network):
        return torch.cat([_run(model, images[places]) for places in chunks(len(images), images, chunk)])


@torch.no_grad()
def rerun_behind(
    model: nn.Module, images: Tensor, layer: str, count: int, variant: Variant, chunk: int | None = None
) -> Tensor:
    """Return the logits that follow from `count` variants of one layer's output, for every image.

    The part before the layer runs on single images where what follows broadcasts, which is tested once per network
    and layer; elsewhere images are repeated. A layer that runs more than once is replaced at its last call.

    Args:
        model: a classifier in evaluation mode.
        images: (B, C, H, W).
        layer: name as in `model.named_modules()`.
        count: number of variants, N.
        variant: makes some variants of one image's map.
        chunk: variants of one forward; chosen by the images' size if not given.

    Returns:
        Logits (B, N, classes), float32 or float64.

    Raises:
        ValueError: if the model is in training mode, or the layer's output is no map.

    Example:
        >>> from looksharp.networks import SmallNet
        >>> images = torch.rand(2, 3, 28, 28)
        >>> net = SmallNet(10).eval()
        >>> halves = rerun_behind(net, images, "stage2", 3, lambda maps, places: maps * places.view(-1, 1, 1, 1) / 2)
        >>> halves.shape, bool(torch.allclose(halves[:, 2], net(images)))
        (torch.Size([2, 3, 10]), True)

    """
    network = evaluating(model)
    (module,) = find_modules(network, (layer,)).values()
    with lock_of(network):
        calls = _calls(model, module, images[:1])
        known = _BROADCASTS.setdefault(network, {})
        if layer not in known:
            known[layer] = _broadcasts(model, network, layer, calls, images[:1])
        return torch.stack(
            [
                torch.cat(
                    [
                        _replaced(model, network, layer, calls, image, variant, places, repeat=not known[layer])
                        for places in chunks(count, images, chunk)
                    ]
                )
                for image in images.split(1)
            ]
        )


def evaluating(model: nn.Module) -> nn.Module:
    """Return the network in a model, without wrappers.

    Raises:
        ValueError: if it is in training mode, where images of one batch change each other's answers.
    """
    network = unwrapped(model)
    if any(module.training for module in network.modules()):
        raise ValueError("maps of a mechanism that runs the model again need evaluation mode; call model.eval() first")
    return network


def _run(model: nn.Module, images: Tensor) -> Tensor:
    logits = logits_of(model(images.to(memory_format=fastest_format(model, images[:1]))))
    advanced(len(logits))
    return at_least_float32(logits)


def _calls(model: nn.Module, module: nn.Module, image: Tensor) -> int:
    """Count the calls of a module in one forward."""
    calls = 0
    fastest_format(model, image)  # found before forwards are counted

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    with ExitStack() as stack:
        hook_here(stack, module.register_forward_hook, count)
        _run(model, image)
    return calls


def _replaced(
    model: nn.Module,
    network: nn.Module,
    layer: str,
    calls: int,
    image: Tensor,
    variant: Variant,
    places: Tensor,
    *,
    repeat: bool,
) -> Tensor:
    """Return logits (n, classes) of one image (1, C, H, W) for variants of its map at `layer`."""
    called, memory = 0, fastest_format(model, image)

    def replace(_module: nn.Module, _args: object, output: object) -> object:
        nonlocal called
        called += 1
        found = first_tensor(output)
        if called < calls or found is None:
            return output
        layout = layout_of(network, layer, found, (image.shape[-2], image.shape[-1]))
        variants = variant(layout.to_map(found[:1]), places).to(memory_format=memory)
        return with_first(output, layout.from_map(variants, found[:1].expand(len(places), *found.shape[1:])))

    with ExitStack() as stack:
        hook_here(stack, network.get_submodule(layer).register_forward_hook, replace)
        return _run(model, image.expand(len(places), -1, -1, -1) if repeat else image)


def _broadcasts(model: nn.Module, network: nn.Module, layer: str, calls: int, image: Tensor) -> bool:
    """Test whether two variants behind one image give what they give behind two."""

    def halved(features: Tensor, places: Tensor) -> Tensor:
        return features * (1 - 0.5 * places.to(features.dtype)).view(-1, 1, 1, 1)

    places = torch.arange(2, device=image.device)
    expected = _replaced(model, network, layer, calls, image, halved, places, repeat=True)
    try:
        found = _replaced(model, network, layer, calls, image, halved, places, repeat=False)
    except (RuntimeError, ValueError, AssertionError):  # a concatenation or a reshape that wants one number of images
        return False
    tolerance = 1e-4 * float(expected.abs().max())
    return found.shape == expected.shape and bool(torch.allclose(found, expected, rtol=1e-3, atol=tolerance))
