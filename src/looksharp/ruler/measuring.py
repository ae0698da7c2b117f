"""Measure one mechanism on all images."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor, nn

from looksharp.attention.attend import attend
from looksharp.attention.finite import check_finite
from looksharp.attention.mechanisms import reads_layers
from looksharp.attention.stages import last_stages
from looksharp.attention.tokens import tokens_of
from looksharp.evaluation.subject import Columns, means_by
from looksharp.metrics.agreement import rank_agreement
from looksharp.metrics.cue import cue_scores
from looksharp.metrics.faithfulness.measures import faithfulness
from looksharp.metrics.localisation import attention_inside, pointing_game
from looksharp.metrics.scores import at_resolution
from looksharp.ruler.cost import Cost, cost_of
from looksharp.ruler.own import BUILT_IN, own_map
from looksharp.ruler.questions import Asked, Questions
from looksharp.ruler.results import Measured
from looksharp.ruler.settings import RulerSettings

__all__ = ["measure"]

_COUNTED = 2  # images on which operations are counted
_ON_MARKS = {"attention_inside": attention_inside, "pointing_game": pointing_game}


def measure(
    questions: Questions,
    mechanism: str,
    settings: RulerSettings,
    shown: list[int],
    advance: Callable[[int], object],
) -> Measured:
    """Make the map of each image's answer, and measure it.

    Scores: those of `faithfulness`; "randomised_rank", the rank correlation with the map of the network with random
    weights; "no_attention", 1 for a map that is zero everywhere; on marks of the answer's class "attention_inside"
    and "pointing_game", means over an image's marks; on images whose answer hangs on a cue those of `cue_scores`.

    Args:
        questions: the network and its images.
        mechanism: spelling of the mechanism, or `BUILT_IN` for the network's own attention.
        settings: the layer, and the largest cost.
        shown: places of images whose maps are kept.
        advance: called with the number of images done.

    Raises:
        ValueError: if the mechanism refuses the network or costs too much, or a map is not finite.
    """
    layer, most = settings.layer, settings.most if settings.only is None else None

    def explain(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
        if mechanism == BUILT_IN:
            maps = own_map(model, images, classes)
            check_finite(maps, "the network's own maps")
            return maps
        layers = None if layer is None or not reads_layers(mechanism) else [layer]
        ((name, maps),) = attend(model, images, classes, layers=layers, mechanism=mechanism).maps.items()
        check_finite(maps, f"the maps of {name!r}")
        return maps[:, 0].float()

    columns, kept, cost, seconds, place = Columns(), [], Cost(0, 0), 0.0, 0
    for asked in questions.batches():
        given = asked.images, asked.classes
        if not place:
            cost = _cost(questions.model, *given, explain, most)
        started = _now(asked.images.device)
        maps = explain(questions.model, *given)
        seconds += _now(asked.images.device) - started
        columns.add(_scores(questions, asked, maps))
        random = explain(questions.forgetful, *given)
        size = asked.images.shape[-2], asked.images.shape[-1]
        columns.add({"randomised_rank": rank_agreement(at_resolution(maps, size), at_resolution(random, size))})
        kept += [maps[i - place].cpu() for i in shown if place <= i < place + len(maps)]
        place += len(maps)
        advance(len(maps))
    maps = torch.stack(kept) if kept else torch.zeros(0, 1, 1)
    return Measured(mechanism, columns.joined(), cost, seconds / place, maps)


def _cost(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    explain: Callable[[nn.Module, Tensor, Tensor], Tensor],
    most: float | None,
) -> Cost:
    some = images[:_COUNTED], classes[:_COUNTED]
    for look_for in (partial(last_stages, count=1), tokens_of):  # the first time, layers and tokens are looked for
        with suppress(ValueError):
            look_for(model, some[0])
    return cost_of(model, some[0], lambda: explain(model, *some), most)


def _scores(questions: Questions, asked: Asked, maps: Tensor) -> dict[str, Tensor]:
    """Return all scores of a batch's maps but the one by random weights."""
    chosen, several, size = asked.perturbed, questions.multilabel, questions.batch_size
    given = asked.images[chosen], maps[chosen], asked.classes[chosen]
    found = {
        name: _spread(values, chosen)
        for name, values in faithfulness(questions.model, *given, multilabel=several, batch_size=size).items()
    }
    found["no_attention"] = ~(maps > 0).flatten(1).any(1)
    if asked.marks is not None:
        own = asked.classes[asked.marks.sample] == asked.marks.label
        image, mask = asked.marks.sample[own], asked.marks.mask[own]
        for name, function in _ON_MARKS.items():
            found[name] = means_by(function(maps[image], mask), image, len(maps))
    elif questions.split.marks is not None:
        found |= dict.fromkeys(_ON_MARKS, torch.full((len(maps),), torch.nan))
    if asked.cues is not None:
        on_cues = cue_scores(maps, asked.cues)
        found |= {name: torch.where(asked.hangs, values, torch.nan) for name, values in on_cues.items()}
    return found


def _spread(values: Tensor, chosen: Tensor) -> Tensor:
    """Return values (B,) of the chosen images, NaN for the others."""
    found = values.new_full(chosen.shape, torch.nan)
    found[chosen] = values
    return found


def _now(device: torch.device) -> float:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
