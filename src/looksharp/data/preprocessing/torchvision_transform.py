"""Pixels of torchvision transforms: the preset of published weights, or a `Compose` of the usual steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from looksharp.data.pixels import Pixels
from looksharp.data.preprocessing.refusal import Irreproducible, channels, made

__all__ = ["transform_pixels"]

_STEPS = {
    "RGB": "colours",
    "PILToTensor": "bytes",
    "MaybePILToTensor": "bytes",
    "ToImage": "bytes",
    "ToTensor": "fractions",
    "MaybeToTensor": "fractions",
    "ConvertImageDtype": "fractions",
    "ToDtype": "fractions",
    "Resize": "resizing",
    "ResizeKeepRatio": "resizing",
    "CenterCrop": "cutting",
    "Normalize": "normalising",
}
"""Steps by the name of their class, in torchvision's two versions and timm -> what they do."""


def transform_pixels(transform: object) -> Pixels:
    """Return the pixels of a transform that is given pictures as PIL opens them.

    Args:
        transform: `Weights.transforms()`, or a `Compose` of Resize, CenterCrop, a step to tensors and Normalize, of
            torchvision's first or second version or as `timm.data.create_transform` returns it.

    Raises:
        Irreproducible: if there is another step, or another order of them.

    Example:
        >>> from torchvision.models import ResNet18_Weights
        >>> transform_pixels(ResNet18_Weights.DEFAULT.transforms()).resized
        (256, 256)

    """
    if isinstance(transform, ImageClassification):
        resizing = {"fit": "shorter", "resize_size": _square(transform.resize_size), "resizer": "pil"}
        resizing |= {"interpolation": _filter(transform.interpolation), "size": _square(transform.crop_size)}
        return made(mean=channels(transform.mean, "mean"), std=channels(transform.std, "std"), **resizing)
    steps = {_kind(step): step for step in _flat(transform)}
    order = [kind for kind in steps if kind not in ("colours", "bytes", "fractions")]
    if "resizing" not in steps or order != [kind for kind in ("resizing", "cutting", "normalising") if kind in steps]:
        got = ", ".join(type(step).__name__ for step in steps.values())
        raise Irreproducible(f"the transform is not of the form Resize, CenterCrop, ToTensor, Normalize but {got}")
    found = _resizing(steps, list(steps))
    if "normalising" in steps:
        found |= {name: channels(_list(getattr(steps["normalising"], name)), name) for name in ("mean", "std")}
    else:
        found |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return made(**found)


def _flat(transform: object) -> Iterator[object]:
    """Yield the steps of a transform, those of nested ones in their place."""
    steps = list(transform) if isinstance(transform, nn.Sequential) else getattr(transform, "transforms", None)
    if not isinstance(steps, Sequence):
        yield transform
        return
    for step in steps:
        yield from _flat(step)


def _kind(step: object) -> str:
    """Return what a step does.

    Raises:
        Irreproducible: if the step is not known.
    """
    name = type(step).__name__
    if name not in _STEPS:
        shown = f"{step!r:.60}" if isinstance(step, nn.Module) else getattr(step, "__name__", name)
        raise Irreproducible(f"step {' '.join(shown.split())} of the transform is not known")
    if name == "ToDtype" and not getattr(step, "scale", False):
        raise Irreproducible("step ToDtype of the transform has no scale=True")
    return _STEPS[name]


def _resizing(steps: Mapping[str, Any], order: list[str]) -> dict[str, Any]:
    """Return the settings of `Pixels` that the steps before normalising amount to."""
    if "fractions" not in steps:
        raise Irreproducible("the transform makes no tensor of fractions")
    if order.index("fractions") < order.index("resizing"):
        raise Irreproducible("the transform resizes fractions and not bytes")
    step = steps["resizing"]
    sides, fit = _sides(step.size), _fit(step)
    cut = steps.get("cutting")
    if cut is None and fit == "shorter":
        raise Irreproducible("the transform has no CenterCrop, so that images are of several sizes")
    tensors = "bytes" in steps and order.index("bytes") < order.index("resizing")
    if tensors and ".v2." not in type(step).__module__:
        raise Irreproducible("the transform resizes tensors by torchvision's first version, which rounds otherwise")
    return {
        "size": _square(sides if cut is None else _sides(cut.size)),
        "fit": fit,
        "resize_size": _square(sides),
        "interpolation": _filter(step.interpolation),
        "resizer": "torch" if tensors else "pil",
        "antialias": bool(getattr(step, "antialias", True)) or not tensors,
    }


def _fit(step: Any) -> str:
    """Return the rule by which a step resizes.

    Raises:
        Irreproducible: if it bounds the longer side or draws the size.
    """
    kept, sides = type(step).__name__ == "ResizeKeepRatio", _sides(step.size)
    bounded = step.longest or step.random_scale_prob or step.random_aspect_prob if kept else step.max_size is not None
    if bounded or (kept and len(set(sides)) == 1):
        raise Irreproducible(f"the transform's rule {step!r:.60} is not known")
    return "shorter" if kept or len(sides) == 1 else "resize"


def _sides(size: int | Sequence[int]) -> list[int]:
    """Return one or two sides."""
    return [size] if isinstance(size, int) else [int(side) for side in size]


def _square(size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of one side or two."""
    sides = _sides(size)
    return sides[0], sides[-1]


def _filter(mode: InterpolationMode | int) -> str:
    """Return the name of a filter; torchvision's own are called as PIL's."""
    found = mode if isinstance(mode, InterpolationMode) else InterpolationMode(mode)
    return found.value


def _list(values: object) -> object:
    if not isinstance(values, torch.Tensor):
        return values
    return [float(f"{value:.7g}") for value in values.tolist()]  # of single precision
