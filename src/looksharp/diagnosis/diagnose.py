"""Look at a network from all sides, and hold its maps against plain autograd once."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from looksharp.adopting.naming import name_classes
from looksharp.adopting.reading import said_pixels
from looksharp.attention.finite import check_logits, check_weights
from looksharp.attention.recording import find_modules, logits_of, look, unwrapped
from looksharp.attention.stages import last_stages
from looksharp.diagnosis.autograd_check import differences, see
from looksharp.diagnosis.network_facts import (
    depends_on_batch,
    differs_again,
    said_head,
    said_layers,
    said_layout,
    said_normalisation,
)
from looksharp.diagnosis.settings import DoctorSettings
from looksharp.diagnosis.subject import Subject, read_subject
from looksharp.networks.backbones.source import Stated

__all__ = ["Diagnosis", "diagnose"]

_MOST = 1e-4
"""Largest difference between a map and plain autograd's, as a share of its largest value, that rounding explains."""

_NAMED = 6  # classes


@dataclass(frozen=True)
class Diagnosis:
    """Facts understood of a network, and what is wrong with it.

    Attributes:
        topics: what was understood, in words, by topic.
        problems: what is wrong, a line each; none if all is well.
        differences: layer -> largest difference of its maps from plain autograd's, as a share of their largest value.
    """

    topics: dict[str, str]
    problems: tuple[str, ...]
    differences: dict[str, float]


def diagnose(chosen: DoctorSettings) -> Diagnosis:
    """Say what is understood of a run or a model, and check its maps against plain autograd.

    Args:
        chosen: the settings.

    Raises:
        ValueError: if there is no such run or model, or it is no classifier of images.

    Example:
        >>> found = diagnose(DoctorSettings("cifar_resnet20", image_size=32, device="cpu"))
        >>> found.problems, found.topics["last layer"]
        ((), 'layer3, 8 x 8 of 32 x 32 px: maps (B, 64, 8, 8), channels first')

    """
    subject = read_subject(chosen)
    topics = dict(subject.said)
    problems = _weights(subject.network)
    if problems:  # of which no number is worth printing
        return Diagnosis(topics | {"weights": "not finite"}, problems, {})
    network = subject.network
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(max(chosen.images, 2), 3, *subject.size, generator=generator).to(device)
    topics |= _inputs(subject, images)
    problems = _answers(network, images)
    if said_normalisation(network, subject.pixels)[1]:
        problems = (*problems, "colours are normalised twice, inside the network and outside it")
    try:
        layers = _chosen(chosen, network, images)
        topics |= _layers(network, images, layers)
        found = differences(network, images, layers)
    except ValueError as error:
        return Diagnosis(topics, (*problems, str(error)), {})
    for role, value in zip(_roles(layers), found.values(), strict=True):
        topics[f"{role} map"] = f"differs from torch.autograd.grad's by {value:.1e} of its largest value"
    wrong = [layer for layer, value in found.items() if not value <= _MOST]
    if wrong:
        worst = max(found.values(), key=lambda value: math.inf if math.isnan(value) else value)
        problems = (*problems, f"maps of {' and '.join(wrong)} differ from autograd's by {worst:.1e}, above {_MOST:g}")
    return Diagnosis(topics, problems, found)


def _chosen(chosen: DoctorSettings, network: nn.Module, images: Tensor) -> tuple[str, ...]:
    if not chosen.layers:
        return last_stages(network, images)
    return tuple(find_modules(unwrapped(network), tuple(chosen.layers)))


def _roles(layers: tuple[str, ...]) -> tuple[str, ...]:
    return ("inner", "last") if len(layers) == 2 else layers


def _weights(network: nn.Module) -> tuple[str, ...]:
    try:
        check_weights(network)
    except ValueError as error:
        return (str(error),)
    return ()


def _inputs(subject: Subject, images: Tensor) -> dict[str, str]:
    """Return what is known of the classes and the input."""
    with torch.no_grad():
        outputs = logits_of(subject.network(images)).shape[1]
    classes = f"{outputs}, whose names are not stated"
    with suppress(ValueError):
        named = name_classes(outputs, None, Stated(classes=subject.classes, origin=subject.origin), None, "")
        listed = ", ".join(named.names[:_NAMED]) + (", ..." if len(named.names) > _NAMED else "")
        classes = f"{outputs}: {listed} ({named.origin})"
    unknown = f"{subject.size[0]} x {subject.size[1]} px; {subject.unread or 'mean and std are not stated'}"
    return {
        "classes": classes,
        "pixels": unknown if subject.pixels is None else said_pixels(subject.pixels),
        "normalised": said_normalisation(subject.network, subject.pixels)[0],
        "mode": said_layers(subject.network),
    }


def _answers(network: nn.Module, images: Tensor) -> tuple[str, ...]:
    """Return what is wrong with a network's logits."""
    with torch.no_grad():
        logits = logits_of(network(images))
    try:
        check_logits(logits)
    except ValueError as error:
        return (str(error),)
    problems = []
    if differs_again(network, images):
        problems.append("two forwards of the same images differ: something is drawn at random in evaluation mode")
    elif depends_on_batch(network, images):
        problems.append("an image's logits depend on the others of its batch: BatchNorm without running statistics?")
    return tuple(problems)


def _layers(network: nn.Module, images: Tensor, layers: tuple[str, ...]) -> dict[str, str]:
    """Return what is known of the layers whose maps are read, and of the head behind them."""
    said = {}
    for role, layer in zip(_roles(layers), layers, strict=True):
        seen = see(network, images, layer)
        height, width = seen.layout.to_map(seen.output).shape[-2:]
        size = f"{height} x {width} of {images.shape[-2]} x {images.shape[-1]} px"
        said[f"{role} layer"] = f"{layer}, {size}: {said_layout(seen.layout, seen.output)}"
    output, features = look(network, images, layers[-1:])
    return said | {"head": said_head(network, features, logits_of(output))}
