"""Adopt a trained classifier: its network, classes and pixels become a run, and its answers are compared."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from looksharp.adopting.answering import Answers, answers_on
from looksharp.adopting.building import Built, build_named, wrapped
from looksharp.adopting.folder import check_free, write_run
from looksharp.adopting.naming import Named, name_classes, read_names
from looksharp.adopting.reading import PIXEL_SETTINGS, choose_pixels, said_pixels
from looksharp.adopting.settings import AdoptSettings
from looksharp.attention.recording import logits_of, unwrapped
from looksharp.data.build import NO_DATA, DataConfig, build_data
from looksharp.data.pixels import Pixels
from looksharp.data.preprocessing import read_pixels
from looksharp.data.split import Data
from looksharp.drawing.wording import aligned
from looksharp.networks.backbones.build import carried, is_own_code, source_of
from looksharp.networks.backbones.sources.own_code import code_from
from looksharp.training.data import fitted_data, map_said
from looksharp.training.facts import RunFacts, facts_of, package_versions
from looksharp.training.folder import Run, build_model, find_device
from looksharp.training.settings import NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig
from looksharp.training.state import misfit

__all__ = ["Adopted", "adopt", "adopt_model"]

_FINE_TUNED = OptimizationConfig("adamw", lr=1e-3, weight_decay=0.01, clip=1.0)
"""The optimiser of a cure, which fine-tunes at a tenth of the rate: 1e-4 suits convolutions and transformers alike."""


_BATCH = 32  # images of a step of a cure
_LISTED = 8  # classes that are named


@dataclass(frozen=True)
class Adopted:
    """An adopted model.

    Attributes:
        run: the run.
        understood: what was understood, by topic.
        answers: its answers on the data; None without data.
        mapping: the data's classes as they are the model's, in lines; none where they are called alike.
    """

    run: Run
    understood: dict[str, str]
    answers: Answers | None
    mapping: tuple[str, ...] = ()

    @property
    def said(self) -> list[str]:
        """Say in lines what was understood and found."""
        topics = self.understood | ({} if self.answers is None else {"accuracy": self.answers.said})
        return [*self.mapping, *aligned(topics)]

    @property
    def hint(self) -> str:
        """Say in one line what looks wrong; "" where nothing does."""
        return "" if self.answers is None else self.answers.hint


def adopt(
    model: nn.Module | str,
    *,
    classes: Sequence[str] | str | Path | None = None,
    pixels: object = None,
    weights: Path | str | None = None,
    data: DataConfig | Path | str | None = None,
    out: Path | str | None = None,
    made_by: str | None = None,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Make a run out of a classifier that was trained elsewhere, in memory or as a run folder.

    Args:
        model: the model, which is put in evaluation mode (a copy of it in float32, if it is in half precision), or a
            name; see `AdoptSettings`.
        classes: names in the order of the model's outputs, or a file with one a line; see `AdoptSettings`.
        pixels: the way from images to the model's input: `Pixels`, or the evaluation transform that it had, as
            `read_pixels` takes it; its own configuration's if not given.
        weights: file of weights, for a model that is named.
        data: images to compare its answers with.
        out: run folder to write; none if not given. A model in hand then needs `made_by`.
        made_by: name of a model in hand, such as package.module:function, that builds it again without its weights.
        progress: print what was understood on stderr.
        options: any other setting of `AdoptSettings`.

    Returns:
        The run, which `explain`, `suspects`, `evaluate` and, with a folder, `cure` take.

    Raises:
        ValueError: if the model is no classifier of images, its weights do not fit, or classes or pixels are not known.

    Example:
        >>> from looksharp.networks import SmallNet
        >>> run = adopt(SmallNet(2), classes=["cat", "dog"], pixels=Pixels((48, 48)), progress=False)
        >>> run.classes, run.path
        (('cat', 'dog'), None)

    """
    network = None if isinstance(model, str) else unwrapped(model)
    if network is not None and out is not None and made_by is None:
        raise ValueError(
            f"made_by must name what builds a {type(network).__name__} again, package.module:function, since the run "
            f"folder {out} keeps its weights alone"
        )
    chosen = AdoptSettings(
        model=model if isinstance(model, str) else made_by or type(network).__name__,
        out=None if out is None else Path(out),
        weights=None if weights is None else Path(weights),
        classes=_text(classes),
        **options,
    )
    if isinstance(data, str | Path):
        data = DataConfig(str(data))
    read = None if pixels is None else read_pixels(pixels)
    given = {} if read is None else {setting: getattr(read, name) for name, setting in PIXEL_SETTINGS.items()}
    found = adopt_model(chosen, data, given, network)
    if progress:
        print("\n".join([*found.said, *([f"warning: {found.hint}"] if found.hint else [])]), file=sys.stderr)
    return found.run


def _text(classes: Sequence[str] | str | Path | None) -> str | tuple[str, ...] | None:
    if classes is None or isinstance(classes, str):
        return classes
    return str(classes) if isinstance(classes, Path) else tuple(classes)


def adopt_model(
    chosen: AdoptSettings, data: DataConfig | None, given: Mapping[str, Any], network: nn.Module | None = None
) -> Adopted:
    """Do what `adopt` does, from its settings.

    Args:
        chosen: the settings.
        data: settings of the images, without those of their pixels.
        given: settings of the pixels that the user gave.
        network: the model, if it is in hand; `chosen.model` is then its name.
    """
    if chosen.out is not None:
        check_free(chosen.out)
    names = None if chosen.classes is None else read_names(chosen.classes)
    images = None if data is None else build_data(data)
    config = _located(chosen.model)
    with code_from(config.code):
        stated = source_of(config.backbone).stated(config.backbone) if network is None else carried(network)
        pixels, origin = choose_pixels(stated, given, _in_memory(images), chosen.model)
        if network is None:
            built = build_named(config.backbone, chosen.weights, pixels.size)
        else:
            built = wrapped(network, pixels.size, chosen.model, {})
    named = name_classes(built.outputs, names, stated, None if images is None else images.classes, chosen.model)
    if data is not None and images is not None:
        images = fitted_data(images, named.names)
        data = replace(data, class_map=dict(images.sources) or None)
    run = Run(
        None,
        _config(replace(config, architecture=built.architecture), pixels, data, images, chosen),
        built.network.eval().to(_device(chosen, network)),
        named.names,
        pixels,
        chosen.multilabel if images is None else images.multilabel,
        0.0,
    )
    if chosen.weights is not None and stated.pixels is not None and not given:
        origin += " (state the size, mean or std that it was trained with, if they are others)"
    understood = _understood(chosen.model, built, named, f"{said_pixels(pixels)}, {origin}", images)
    mapping = "" if images is None else map_said(images)
    found = Adopted(run, understood, _answers(run, images, chosen.images), tuple(mapping.splitlines()))
    return found if chosen.out is None else _kept(found, images, chosen.out, check=network is not None)


def _located(name: str) -> NetworkConfig:
    """Return the network's settings as they hold in every working folder."""
    code = Path.cwd() if is_own_code(name) else None
    return NetworkConfig(source_of(name).located(name), code=code)


def _in_memory(images: Data | None) -> tuple[int, int] | None:
    """Return the size of images that cannot be resized."""
    held = images is not None and any(split.in_memory for split in images.splits.values())
    return images.pixels.size if images is not None and held else None


def _device(chosen: AdoptSettings, network: nn.Module | None) -> torch.device:
    """Return the device that is asked for; a model in hand stays where it is if none is."""
    if network is not None and chosen.device == "auto":
        return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    return find_device(chosen.device)


def _config(
    network: NetworkConfig, pixels: Pixels, data: DataConfig | None, images: Data | None, chosen: AdoptSettings
) -> RunConfig:
    """Return the settings of the run, by which a cure trains."""
    if data is None:
        data = DataConfig(NO_DATA)
    if _in_memory(images) is None:
        data = data.read_as(pixels)
    else:
        data = replace(data, mean=pixels.mean, std=pixels.std)
    training = TrainingConfig(batch_size=_BATCH, device=chosen.device)
    return RunConfig(data=data, network=network, optimization=_FINE_TUNED, training=training)


def _understood(what: str, built: Built, named: Named, pixels: str, images: Data | None) -> dict[str, str]:
    count = sum(parameter.numel() for parameter in built.network.parameters())
    listed = ", ".join(named.names[:_LISTED]) + (", ..." if len(named.names) > _LISTED else "")
    topics = {
        "model": f"{what}, {count / 1e6:.3g} M parameters, {built.outputs} outputs",
        **built.said,
        "classes": f"{listed} ({named.origin})",
        "pixels": pixels,
    }
    if images is not None:
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in images.splits.items())
        shown = {name for name in images.sources.values() if name is not None} or images.classes
        topics["data"] = f"{images.name}: {len(shown)} classes; {sizes}"
    return topics


def _answers(run: Run, images: Data | None, count: int) -> Answers | None:
    if images is None:
        return None
    return answers_on(run, images, count) if count else None


def _kept(found: Adopted, images: Data | None, out: Path, check: bool) -> Adopted:
    """Write the run folder, and return what was adopted with it."""
    run = found.run
    if check:
        _check_built_again(run)
    said = dict(found.understood) | ({} if found.answers is None else {"accuracy": found.answers.said})
    facts = RunFacts(run.classes, run.pixels, run.multilabel, versions=package_versions())
    if images is not None:
        facts = facts_of(replace(images, classes=run.classes, pixels=run.pixels), run.config.training.seed)
    write_run(run, replace(facts, seconds=0.0, adopted=said), out)
    return replace(found, run=replace(run, path=out))


@torch.no_grad()
def _check_built_again(run: Run) -> None:
    """Refuse a name that builds another network than the model in hand.

    Raises:
        ValueError: if weights or logits differ.
    """
    what = f"made_by {run.config.network.backbone!r}"
    again = build_model(run.config, len(run.classes), run.pixels, run.multilabel, pretrained=False).eval()
    name = misfit(again, run.model.state_dict())
    if name is not None:
        raise ValueError(f"{what} builds another network than the model: {name} does not fit")
    again.load_state_dict(run.model.state_dict())
    device = next((parameter.device for parameter in run.model.parameters()), torch.device("cpu"))
    images = torch.randn(2, 3, *run.pixels.size, device=device, generator=torch.Generator(device).manual_seed(0))
    ours, theirs = (logits_of(network(images)) for network in (run.model, again.to(device)))
    if not torch.allclose(ours, theirs, atol=1e-4, rtol=1e-4):
        raise ValueError(f"{what} builds another network than the model: with equal weights its logits differ")
