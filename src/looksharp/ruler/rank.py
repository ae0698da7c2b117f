"""Rank mechanisms on a network of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Never

import torch
from torch import Tensor, nn
from tqdm import tqdm

from looksharp.attention.mechanisms import MECHANISMS, find_mechanism
from looksharp.attention.recording import find_modules, unwrapped
from looksharp.data.split import Data, Split
from looksharp.evaluation.fingerprint import model_fingerprint, split_fingerprint
from looksharp.networks.built_in import has_built_in_attention
from looksharp.ruler.advice import LEAST_HANGING, advise, advised, reason, rule
from looksharp.ruler.keeping import keep, kept_file, read_kept
from looksharp.ruler.measuring import measure
from looksharp.ruler.own import BUILT_IN
from looksharp.ruler.page import write_ranking
from looksharp.ruler.questions import Questions, prepare
from looksharp.ruler.ranking import rank
from looksharp.ruler.results import Example, Measured, Ranking
from looksharp.ruler.settings import RulerSettings
from looksharp.training.data import fitted_data
from looksharp.training.folder import Run, load_run

__all__ = ["rank_mechanisms"]

_REFUSALS = (ValueError, TypeError, ImportError, RuntimeError)


def rank_mechanisms(
    model: nn.Module | Run | str | Path,
    data: Data,
    settings: RulerSettings | None = None,
    *,
    out: str | Path | None = None,
    progress: bool = True,
) -> Ranking:
    """Judge attention mechanisms by one ruler, on one network: which to trust here, and at what cost.

    Every mechanism explains the network's own answer on the same images; see `measure` for the scores and `rank` for
    the places. A mechanism that has no meaning for this network is listed with its reason. Memory is bounded except
    for a few numbers per image and mechanism.

    Args:
        model: a run, the folder of one, or a classifier in evaluation mode.
        data: the images, with marks and cues where known.
        settings: which mechanisms, images and layer.
        out: folder for the page and its tables. What was measured is kept there too, and read from there when the same
            is asked again: an interrupted ranking goes on with the next mechanism.
        progress: show a progress bar.

    Raises:
        ValueError: if a mechanism, layer or split is not known, all mechanisms refuse the network, or its weights or
            answers are not finite.

    Example:
        >>> from looksharp.data.sets.synthetic import biased_digits
        >>> from looksharp.networks import SmallNet
        >>> data = biased_digits(train=1, val=1, test=4)
        >>> chosen = RulerSettings(only=("grad_cam", "cam"), images=4, workers=0)
        >>> found = rank_mechanisms(SmallNet(10, width=8).eval(), data, chosen, progress=False)
        >>> sorted(standing.name for standing in found.standings)
        ['cam', 'grad_cam']

    """
    settings = settings or RulerSettings()
    _check_names(settings.only)
    model = load_run(model) if isinstance(model, str | Path) else model
    network, pixels = (model.model, model.pixels) if isinstance(model, Run) else (model, data.pixels)
    if isinstance(model, Run):
        data = fitted_data(data, model.classes)
    if settings.layer is not None:
        find_modules(unwrapped(network), (settings.layer,))
    names = _names(settings.only, network)
    name, split = _split(data, settings)
    questions = prepare(network, split, pixels, settings)
    shown = _shown(questions, settings.shown)
    facts = (
        model_fingerprint(network),
        split_fingerprint(split, pixels),
        settings.layer,
        settings.seed,
        settings.perturbed,
        shown,
    )
    file = None if out is None else partial(kept_file, Path(out) / "measured", facts=facts)
    with tqdm(total=len(names) * len(split), unit=" maps", disable=not progress, leave=False) as bar:
        measured, refused = _measure_all(questions, names, settings, shown, file, bar)
    if not measured:
        raise ValueError("every mechanism refuses this network: " + "; ".join(f"{n}: {r}" for n, r in refused.items()))
    ranking = _ranking(questions, data, name, settings.seed, measured, refused, _examples(questions, data, shown))
    if out is not None:
        write_ranking(Path(out), ranking)
    return ranking


def _check_names(only: Sequence[str] | None) -> None:
    if only is not None and not only:
        raise ValueError(f"only must name at least one mechanism; there are {', '.join(sorted(MECHANISMS))}")
    for name in only or ():
        if name != BUILT_IN:
            find_mechanism(name)


def _names(only: Sequence[str] | None, network: nn.Module) -> list[str]:
    """Return the mechanisms to rank, each once, and the network's own attention where it has some."""
    if only is not None:
        return list(dict.fromkeys(only))
    return [*([BUILT_IN] if has_built_in_attention(network) else []), *sorted(MECHANISMS)]


def _split(data: Data, settings: RulerSettings) -> tuple[str, Split]:
    """Return the name of a split and the images of it that are measured."""
    name = settings.split or next(iter(data.tests))
    if name not in data.splits:
        raise ValueError(f"split {name!r} is not in {data.name}; there are {', '.join(data.splits)}")
    split = data.splits[name]
    if len(split) <= settings.images:
        return name, split
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(settings.seed))
    return name, split.taken(sorted(order[: settings.images].tolist()))


def _shown(questions: Questions, count: int) -> list[int]:
    """Return places of images to show, spread evenly, of those whose answer hangs on the cue where enough do."""
    places = questions.hangs.nonzero().flatten().tolist()
    if len(places) < count:
        places = list(range(len(questions.split)))
    return [places[i] for i in torch.linspace(0, len(places) - 1, min(count, len(places))).long().tolist()]


def _measure_all(
    questions: Questions,
    names: Sequence[str],
    settings: RulerSettings,
    shown: list[int],
    file: Callable[[str], Path] | None,
    bar: tqdm[Never],
) -> tuple[list[Measured], dict[str, str]]:
    """Measure each mechanism, or read it where it was kept; return those that refuse with their reasons."""
    measured: list[Measured] = []
    refused: dict[str, str] = {}
    for number, name in enumerate(names):
        bar.set_description(name)
        path = None if file is None else file(name)
        found = None if path is None else read_kept(path, name)
        if found is None:
            try:
                found = measure(questions, name, settings, shown, bar.update)
            except _REFUSALS as error:
                refused[name] = _reason(error)
            else:
                if path is not None:
                    keep(path, found)
        if found is not None:
            measured.append(found)
        bar.update((number + 1) * len(questions.split) - bar.n)
    return measured, refused


def _reason(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return lines[0] if isinstance(error, ValueError) and lines[0] else f"{type(error).__name__}: {lines[0]}"


def _ranking(
    questions: Questions,
    data: Data,
    split: str,
    seed: int,
    measured: list[Measured],
    refused: dict[str, str],
    examples: list[tuple[str, Tensor, Tensor | None]],
) -> Ranking:
    cue = questions.cue
    by_cue = cue is not None and cue.hanging >= LEAST_HANGING
    standings = rank(measured, by_cue, seed)
    deciding = cue if by_cue else None
    take = advised(standings, deciding)
    by_name = {each.name: each for each in measured}
    return Ranking(
        tuple(standings),
        refused,
        advise(standings, deciding),
        reason(standings, cue, len(questions.split)),
        rule(by_cue),
        None if take is None else take.name,
        by_cue,
        cue,
        data.name,
        split,
        len(questions.split),
        seed,
        tuple(
            Example(title, image, mask, {each.name: by_name[each.name].maps[i] for each in standings})
            for i, (title, image, mask) in enumerate(examples)
        ),
    )


def _examples(questions: Questions, data: Data, shown: list[int]) -> list[tuple[str, Tensor, Tensor | None]]:
    """Return title, colours and cue of each image that is shown."""
    found: list[tuple[str, Tensor, Tensor | None]] = []
    if not shown:
        return found
    picked = questions.split.taken(shown) if len(shown) < len(questions.split) else questions.split
    chosen = replace(
        questions,
        split=picked,
        classes=questions.classes[shown],
        hangs=questions.hangs[shown],
        perturbed=questions.perturbed[shown],
    )
    for asked in chosen.batches():
        colours = questions.pixels.denormalize(asked.images).cpu()
        for i in range(len(colours)):
            answer = data.classes[int(asked.classes[i])]
            cue = None if asked.cues is None or not asked.cues[i].any() else asked.cues[i].cpu()
            found.append((f"taken for {answer}", colours[i], cue))
    return found
