"""Facts of a network that decide whether its maps and answers can be trusted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from looksharp.attention.layout import Layout
from looksharp.attention.recording import Recording, logits_of
from looksharp.data.pixels import Pixels
from looksharp.networks.head_parameters import classifier_of

__all__ = ["depends_on_batch", "differs_again", "said_head", "said_layers", "said_layout", "said_normalisation"]

_INSIDE = ("mean", "std", "pixel_mean", "pixel_std", "image_mean", "image_std")
_ALIKE = 1e-4


def said_layout(layout: Layout, output: Tensor) -> str:
    """Return in words how a map lies in a layer's output."""
    if layout.kind == "NCHW":
        return f"maps (B, {output.shape[1]}, {output.shape[2]}, {output.shape[3]}), channels first"
    if layout.kind == "NHWC":
        return f"maps (B, {output.shape[1]}, {output.shape[2]}, {output.shape[3]}), channels last"
    rows, columns = layout.grid
    prefix = f"{layout.prefix} prefix token{'' if layout.prefix == 1 else 's'}" if layout.prefix else "no prefix token"
    order = "" if layout.order is None else ", window by window"
    return f"{output.shape[1]} tokens of {output.shape[2]} channels: {prefix}, then {rows} x {columns} patches{order}"


def said_head(network: nn.Module, features: Recording, logits: Tensor) -> str:
    """Return in words what reads the last map, and whether its gradient is known without a backward."""
    head = features.pooled_linear_head(logits)
    name, _ = classifier_of(network)
    if head is not None:
        return f"average pooling and one linear layer ({name}): the last map's gradient is its weight, no backward"
    return f"not one linear layer over averaged positions ({name} is the last with weights): one backward for all maps"


def said_layers(network: nn.Module) -> str:
    """Return in words the layers whose behaviour depends on the mode or the batch."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    drops = [module for module in network.modules() if isinstance(module, _DropoutNd) and module.p > 0]
    parts = [f"{len(norms)} BatchNorm" + _frozen(norms) if norms else "no BatchNorm"]
    parts.append(f"{len(drops)} dropout (up to {max(drop.p for drop in drops):g})" if drops else "no dropout")
    return ", ".join(parts)


def _frozen(norms: list[_BatchNorm]) -> str:
    lacking = sum(not norm.track_running_stats for norm in norms)
    return f" ({lacking} without running statistics)" if lacking else ""


def said_normalisation(network: nn.Module, pixels: Pixels | None) -> tuple[str, bool]:
    """Return in words where colours are normalised, and whether that seems to happen twice."""
    inside = [
        name or type(module).__name__
        for name, module in network.named_modules()
        if "normalize" in type(module).__name__.lower() or (not name and _has_colours(module))
    ]
    outside = pixels is not None and (any(pixels.mean) or any(value != 1 for value in pixels.std))
    if not inside:
        return "outside the network" if outside else "none is stated, and none was found inside the network", False
    where = f"inside the network ({', '.join(inside[:3])})"
    return (f"{where} and outside it: once is enough, --mean 0 --std 1", True) if outside else (where, False)


def _has_colours(module: nn.Module) -> bool:
    """Return whether a network holds means or deviations of three channels itself."""
    return any(name in _INSIDE and value.numel() == 3 for name, value in module.named_buffers(recurse=False))


@torch.no_grad()
def differs_again(model: nn.Module, images: Tensor) -> bool:
    """Return whether a second forward of the same images gives other logits."""
    return not _alike(logits_of(model(images)), logits_of(model(images)))


@torch.no_grad()
def depends_on_batch(model: nn.Module, images: Tensor) -> bool:
    """Return whether an image's logits depend on the other images of its batch."""
    return not _alike(logits_of(model(images))[:1], logits_of(model(images[:1])))


def _alike(one: Tensor, other: Tensor) -> bool:
    return bool(((one - other).abs() <= _ALIKE * one.abs().max().clamp(min=1e-6)).all())
