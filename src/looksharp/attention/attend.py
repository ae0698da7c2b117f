"""Attention maps of chosen classes at recorded layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from looksharp.attention.eager import eagerly
from looksharp.attention.gradients import map_gradients
from looksharp.attention.maps import fuse_maps
from looksharp.attention.mechanisms import (
    MapFunction,
    Mechanism,
    ModelMechanism,
    check_asked,
    find_mechanism,
    has_sign,
    mechanism_name,
    reads_layers,
)
from looksharp.attention.mechanisms.base import SinglePass, contrast_of
from looksharp.attention.mechanisms.cam import cam
from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import Recording, answer, logits_of, look
from looksharp.attention.smoothing import average_over_copies
from looksharp.attention.stages import last_stages

__all__ = ["Attention", "attend", "attention_maps", "maps_of"]


class Attention(NamedTuple):
    """Logits (B, C), classes (B, K) and layer name, or "image" -> maps (B, K, h, w), as `attend` returns them."""

    logits: Tensor
    classes: Tensor
    maps: dict[str, Tensor]


def attention_maps(
    output: object,
    features: Recording,
    classes: Tensor,
    mechanism: str | Mechanism = "grad_cam",
    *,
    create_graph: bool = False,
    signed: bool = False,
    detach_weights: bool = False,
) -> dict[str, Tensor]:
    """Compute maps of K classes per image at every recorded layer, with at most one batched backward.

    The backward runs from the logits to the earliest recorded layer and touches no parameter's `.grad`. A last
    layer that is pooled and classified by one linear layer needs none: its gradient is the classifier's weight
    over the number of positions. Precision below float32 is raised to float32 before maps are formed.

    Args:
        output: the model's output: logits (B, C), or a tuple, mapping or object that holds them.
        features: the recording of the forward that made `output`.
        classes: class indices, (B,) for one class per image or (B, K) for K.
        mechanism: a name from `MECHANISMS`, or a function `(features, gradients) -> map`; not one that runs the model
            itself.
        create_graph: make the maps differentiable, weights included (second order).
        signed: return the map before its ReLU: evidence for the class (positive) and against it.
        detach_weights: with `create_graph`, stop the gradient through the weights: only the features learn.

    Returns:
        Layer name -> maps (B, K, h, w), raw: not normalised, >= 0 unless `signed`. float32, or float64.

    Raises:
        ValueError: if `classes` do not fit the batch or the number of classes; if a layer gets no gradient or runs
            on more maps than there are images (behind the cut of an attention branch for several tasks); if
            `create_graph` is asked of a forward that nothing can be trained through; if `mechanism` is CAM and
            the layer is not pooled into one linear classifier, or runs the model itself.

    Example:
        >>> import torch
        >>> from looksharp.attention.recording import record
        >>> from looksharp.networks import CifarResNet
        >>> net = CifarResNet(depth=20, num_classes=10)
        >>> with record(net, ["layer2", "layer3"]) as features:
        ...     logits = net(torch.rand(2, 3, 32, 32))
        >>> maps = attention_maps(logits, features, logits.topk(5).indices)
        >>> {layer: tuple(m.shape) for layer, m in maps.items()}
        {'layer2': (2, 5, 16, 16), 'layer3': (2, 5, 8, 8)}

    """
    mechanism = _of_features(mechanism)
    logits = logits_of(output)
    classes = _check_classes(classes, logits, check_range=not create_graph or not logits.is_cuda)
    if create_graph and not features.trainable:
        raise ValueError(
            "create_graph=True needs a forward that can be trained: call the model outside `torch.no_grad` "
            "with at least one parameter that requires grad, or pass create_graph=False"
        )
    head = features.pooled_linear_head(logits)
    if mechanism is cam and (head is None or set(features) != {head.layer}):
        raise ValueError(
            "mechanism 'cam' needs one layer that is average-pooled into one linear classifier, "
            f"and recorded are {', '.join(features)}; use 'grad_cam', which equals CAM there and works anywhere"
        )
    for layer, recorded in features.items():
        if len(recorded) != len(logits):
            raise ValueError(
                f"layer {layer!r} holds {len(recorded)} maps for a batch of {len(logits)}: it runs once for each of "
                f"several attention maps; record a layer before the cut"
            )
    gradients = map_gradients(
        logits, features, classes, contrast_of(mechanism, logits, classes), head, create_graph=create_graph
    )
    maps = {}
    # Disabled, because autocast would bring the sums over channels back to half precision.
    with torch.set_grad_enabled(create_graph), torch.autocast(logits.device.type, enabled=False):
        for layer, gradient in gradients.items():
            weights = gradient.detach() if detach_weights or not create_graph else gradient
            evidence = mechanism(at_least_float32(features[layer]), at_least_float32(weights))
            maps[layer] = evidence if signed else evidence.relu()
    return maps


def attend(
    model: nn.Module,
    images: Tensor,
    classes: Tensor | None = None,
    *,
    top: int = 1,
    layers: Iterable[str] | None = None,
    mechanism: str | Mechanism = "grad_cam",
    signed: bool = False,
    smooth: bool = False,
    fuse: bool = False,
) -> Attention:
    """Show where `model` looks: run one forward in its present mode and map the evidence for chosen classes.

    Nothing of the model changes: in training mode BatchNorm's statistics stay too. Threads may share a model: their
    forwards take turns, and no setting of the process is touched. A model that is compiled or checkpoints its
    activations runs eagerly, which a warning says once; see `eagerly`.

    Args:
        model: any classifier.
        images: (B, 3, H, W), normalised as the model expects.
        classes: (B,) or (B, K); the `top` highest-scoring classes if not given.
        top: number of highest-scoring classes, where `classes` is not given.
        layers: names of layers; the end of the last stage if not given, of the last two for `fuse`.
        mechanism: a name from `MECHANISMS`, with settings after a colon (`rise:500`), or a mechanism itself.
        signed: see `attention_maps`.
        smooth: average maps over mirrored and scaled copies of the images, before the ReLU; six forwards in place of
            one. See `average_over_copies`.
        fuse: average the maps of all layers into one, whose name is theirs joined by "+"; see `fuse_maps`.

    Returns:
        Detached logits (B, C) of the images as they are, classes (B, K) in the order of the maps, and maps (B, K, h, w)
        by layer; one map where the mechanism reads no layers, by "image" if it lies in the input's pixels.

    Raises:
        ValueError: if `top` is below 1; if the mechanism reads no layers and some are named or to be fused, or has no
            sign; and as `attention_maps`.

    Example:
        >>> import torch
        >>> from looksharp.networks import CifarResNet
        >>> attend(CifarResNet(20, 10), torch.rand(2, 3, 32, 32), top=3).maps["layer3"].shape
        torch.Size([2, 3, 8, 8])

    """
    if top < 1:
        raise ValueError(f"top must be at least 1 class; got {top}")
    kind = find_mechanism(mechanism)
    check_asked(kind, layers=layers is not None or fuse, signed=signed)
    if reads_layers(kind) and layers is None:
        layers = last_stages(model, images, count=2 if fuse else 1)
    layers = (layers,) if isinstance(layers, str) else tuple(layers or ())
    with eagerly(model):
        found = _attend(model, images, classes, top, layers, kind, signed=has_sign(kind) if smooth else signed)
        maps = found.maps
        if smooth:
            maps = average_over_copies(
                images,
                lambda copies: (
                    maps
                    if copies is images
                    else _attend(model, copies, found.classes, top, layers, kind, signed=has_sign(kind)).maps
                ),
            )
            maps = maps if signed else {name: each.relu() for name, each in maps.items()}
    return found._replace(maps={"+".join(maps): fuse_maps(maps)} if fuse else maps)


def _attend(
    model: nn.Module,
    images: Tensor,
    classes: Tensor | None,
    top: int,
    layers: tuple[str, ...],
    kind: Mechanism,
    *,
    signed: bool,
) -> Attention:
    """Run one forward and map the evidence; see `attend`."""
    once = kind.answered(model, images, layers) if isinstance(kind, SinglePass) else None
    output: object
    if once is not None:
        output, features = once.logits, Recording(layers)
    elif isinstance(kind, ModelMechanism):
        output, features = answer(model, images), Recording(layers)
    else:
        several = top > 1 if classes is None else classes.ndim > 1 and classes.shape[1] > 1
        output, features = look(model, images, layers, several=several)
    logits = logits_of(output)
    if classes is None:
        classes = logits.topk(min(top, logits.shape[1])).indices
    if once is None:
        maps = maps_of(model, images, output, features, classes, kind, signed=signed)
    else:
        maps = _ended(once.maps(_check_classes(classes, logits, check_range=True)), signed=signed)
    return Attention(logits.detach(), classes.reshape(len(images), -1), maps)


def maps_of(
    model: nn.Module,
    images: Tensor,
    output: object,
    features: Recording,
    classes: Tensor,
    mechanism: str | Mechanism = "grad_cam",
    *,
    signed: bool = False,
) -> dict[str, Tensor]:
    """Compute maps, after a forward, by a mechanism of either kind: from its recording, or by running the model again.

    Args:
        model: the classifier that ran.
        images: (B, C, H, W) that it ran on.
        output: its output.
        features: the recording of that forward; of its layers alone the names matter where the model runs again.
        classes: (B,) or (B, K).
        mechanism: see `attend`.
        signed: see `attention_maps`.

    Returns:
        Layer name -> maps (B, K, h, w); one map where the mechanism reads no layers, as of `attend`.

    Raises:
        ValueError: as `attend`.
    """
    kind = find_mechanism(mechanism)
    if not isinstance(kind, ModelMechanism):
        return attention_maps(output, features, classes, kind, signed=signed)
    check_asked(kind, signed=signed)
    classes = _check_classes(classes, logits_of(output), check_range=True)
    layers = features.layers if kind.layered else ()
    return _ended(kind.maps(model, images, classes, layers), signed=signed)


def _ended(maps: dict[str, Tensor], *, signed: bool) -> dict[str, Tensor]:
    """Apply the ReLU that maps end in, unless they are to keep their sign."""
    return maps if signed else {name: found.relu() for name, found in maps.items()}


def _of_features(mechanism: str | Mechanism) -> MapFunction:
    found = find_mechanism(mechanism)
    if isinstance(found, ModelMechanism):
        name = mechanism_name(found) or type(found).__name__
        raise ValueError(f"mechanism {name!r} runs the model itself, which attention_maps does not have; use attend")
    return found


def _check_classes(classes: Tensor, logits: Tensor, *, check_range: bool) -> Tensor:
    integers = not classes.is_floating_point() and classes.dtype != torch.bool
    if not integers or classes.ndim not in (1, 2) or len(classes) != len(logits):
        raise ValueError(
            f"classes must be integers of shape ({len(logits)},) or ({len(logits)}, K) for a batch of "
            f"{len(logits)}; got {str(classes.dtype).removeprefix('torch.')} of shape {tuple(classes.shape)}"
        )
    classes = classes.to(logits.device, torch.long).reshape(len(logits), -1)
    if check_range and classes.numel() and not (0 <= int(classes.min()) <= int(classes.max()) < logits.shape[1]):
        raise ValueError(
            f"classes must lie in 0 to {logits.shape[1] - 1} for {logits.shape[1]} logits; "
            f"got {int(classes.min())} to {int(classes.max())}"
        )
    return classes
