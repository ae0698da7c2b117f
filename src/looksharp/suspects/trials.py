"""Test groups by intervention: does the answer follow a piece that is pasted elsewhere?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from looksharp.attention.recording import logits_of
from looksharp.data.split import Pixels, Split
from looksharp.drawing.wording import in_words
from looksharp.interventions.intervals import wilson_interval
from looksharp.interventions.intervene import answered
from looksharp.interventions.surroundings import exchange_surroundings, feather, object_only, surroundings_only
from looksharp.suspects.groups import Figure, Group, Region

__all__ = ["TESTS", "Example", "effect", "judge", "try_group"]

TESTS = {
    "follows": "The answer is the piece's class once it is pasted onto an image of another class that was not so "
    "answered before",
    "follows_random": "The same, with a random piece of the same size and shape from the same image",
    "lost": "A right answer is lost once the piece is replaced by a smooth continuation of its surroundings",
    "lost_random": "The same, with a random piece of the same size and shape",
    "alone": "The answer is the piece's class where all else is replaced by the mean colour",
}
"""Each test of a group, in words."""

_TRIES = 16  # places drawn for a random piece
_SHOWN = 2  # examples


@dataclass(frozen=True, eq=False)
class Example:
    """One image of a group under the interventions.

    Attributes:
        title: its class, and that of the image it was pasted onto.
        mask: the piece, (H, W) boolean.
        pictures: "original", "onto" and the name of a test -> (3, H, W), as the network reads it.
        answers: the same names -> class that the network answers, and True if it is the piece's.
    """

    title: str
    mask: Tensor = field(repr=False)
    pictures: dict[str, Tensor] = field(repr=False)
    answers: dict[str, tuple[str, bool]]


@dataclass(frozen=True, eq=False)
class _Pair:
    """A region, the place of the image that it is pasted onto, and a random piece (H, W) of its size and shape."""

    region: Region
    onto: int
    random: Tensor


@torch.no_grad()
def try_group(
    model: nn.Module,
    split: Split,
    pixels: Pixels,
    classes: Sequence[str],
    group: Group,
    *,
    images: int = 32,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
) -> tuple[Group, list[Example]]:
    """Test a group on some of its images, each with one image that does not show the class.

    Costs seven forwards for each image tested.

    Args:
        model: the classifier, in evaluation mode; its first parameter's device is used.
        split: the images.
        pixels: the way from their pixels to the network's input.
        classes: class names.
        group: the group.
        images: number of its regions to test, drawn by seed.
        batch_size: images read, and images of one forward.
        workers: processes that read image files.
        seed: seed of all draws.

    Returns:
        The group with `tests` (those that `TESTS` names and that there were images for), verdict and reason; and two
        examples, or fewer.
    """
    pairs = _pairs(group, split, classes, images, torch.Generator().manual_seed(1_000_003 * seed + group.number))
    parts = [pairs[start : start + max(batch_size // 2, 1)] for start in range(0, len(pairs), max(batch_size // 2, 1))]
    reading = [[pair.region.image for pair in part] + [pair.onto for pair in part] for part in parts]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    outcomes: dict[str, list[Tensor]] = defaultdict(list)
    examples: list[Example] = []
    for part, batch in zip(parts, split.loader(reading, pixels, device=device, workers=workers), strict=True):
        pictures = _pictures(batch.image, part)
        labels = torch.tensor([classes.index(pair.region.label) for pair in part])
        logits = {name: logits_of(model(each)) for name, each in pictures.items()}
        for name, each in logits.items():
            outcomes[name].append(answered(each, labels, split.targets.ndim == 2).cpu())
        if not examples:
            examples = _examples(part[:_SHOWN], split, classes, pictures, logits)
    tests = _figures({name: torch.cat(each) for name, each in outcomes.items()})
    verdict, reason = judge(tests)
    return replace(group, tests=tests, verdict=verdict, reason=reason), examples


def _pairs(group: Group, split: Split, classes: Sequence[str], images: int, generator: torch.Generator) -> list[_Pair]:
    """Draw regions, and for each an image that does not show its class; those for which there is none are left out."""
    drawn = torch.randperm(len(group.regions), generator=generator)[:images].sort().values.tolist()
    targets, pairs = split.targets, []
    for region in (group.regions[place] for place in drawn):
        label = classes.index(region.label)
        without = (targets != label if targets.ndim == 1 else targets[:, label] <= 0.5).nonzero().flatten()
        if len(without):
            onto = int(without[torch.randint(len(without), (1,), generator=generator)])
            pairs.append(_Pair(region, onto, _elsewhere(region.mask, generator)))
    return pairs


def _elsewhere(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Move a mask (H, W) to the place, of some drawn within the image, where it and its edge cover it least."""
    near = feather(mask.float()[None])[0] > 0
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    room = torch.tensor([mask.shape[0] - cut.shape[0] + 1, mask.shape[1] - cut.shape[1] + 1])
    corners = (torch.rand(_TRIES, 2, generator=generator) * room).long().tolist()
    moved = []
    for row, column in corners:
        each = torch.zeros_like(mask)
        each[row : row + cut.shape[0], column : column + cut.shape[1]] = cut
        moved.append(each)
    return min(moved, key=lambda each: int((each & near).sum()))


def _pictures(images: Tensor, pairs: Sequence[_Pair]) -> dict[str, Tensor]:
    """Return the pictures of every test: images (2N, 3, H, W), first those of the pieces, then those pasted onto."""
    own, onto = images.chunk(2)
    masks, random = (
        torch.stack(each).to(images) for each in ([p.region.mask for p in pairs], [p.random for p in pairs])
    )
    return {
        "original": own,
        "onto": onto,
        "follows": exchange_surroundings(own, masks, onto),
        "follows_random": exchange_surroundings(own, random, onto),
        "lost": surroundings_only(own, masks),
        "lost_random": surroundings_only(own, random),
        "alone": object_only(own, masks),
    }


def _figures(answers: dict[str, Tensor]) -> dict[str, Figure]:
    """Count answers, each (N,) boolean: True where the picture is answered with the piece's class."""
    if not answers:
        return {}
    fresh, right = ~answers["onto"], answers["original"]
    counted = {
        "follows": answers["follows"][fresh],
        "follows_random": answers["follows_random"][fresh],
        "lost": ~answers["lost"][right],
        "lost_random": ~answers["lost_random"][right],
        "alone": answers["alone"],
    }
    return {
        name: Figure(float(values.double().mean()), wilson_interval(values.double()), len(values))
        for name, values in counted.items()
        if len(values)
    }


def effect(tests: dict[str, Figure]) -> tuple[float, float]:
    """Return by how much the piece is ahead of random pieces: in deciding answers elsewhere, and in being needed.

    -1 where a test had no images.
    """
    ahead = []
    for name in ("follows", "lost"):
        own, random = tests.get(name), tests.get(f"{name}_random")
        ahead.append(own.share - random.share if own is not None and random is not None else -1.0)
    return ahead[0], ahead[1]


def judge(tests: dict[str, Figure]) -> tuple[str, str]:
    """Say in a word and a sentence what the tests of a group show.

    "decides": the answer follows the piece, as its interval lies above that of random pieces; "needed": only the answer
    is lost without it more often; "unclear": neither. Intervention cannot tell an object from a shortcut.
    """

    def told(name: str) -> str:
        return in_words(tests[name].share, True) if name in tests else "–"

    def above(name: str) -> bool:
        own, random = tests.get(name), tests.get(f"{name}_random")
        return own is not None and random is not None and own.interval[0] > random.interval[1]

    elsewhere = f"{told('follows')} elsewhere (random pieces: {told('follows_random')})"
    without = f"without it {told('lost')} of the right answers are lost (random pieces: {told('lost_random')})"
    if above("follows"):
        return "decides", f"The answer follows the piece: it decides {elsewhere}. A person says what the piece is."
    if above("lost"):
        return "needed", f"The answer needs the piece but does not follow it: {without}, and it decides {elsewhere}."
    return "unclear", f"Nothing tells the piece from random ones of its size: it decides {elsewhere}, and {without}."


def _named(target: Tensor, classes: Sequence[str]) -> str:
    if target.ndim == 0:
        return classes[int(target)]
    return ", ".join(classes[place] for place in (target > 0.5).nonzero().flatten().tolist()) or "no class"


def _examples(
    pairs: Sequence[_Pair],
    split: Split,
    classes: Sequence[str],
    pictures: dict[str, Tensor],
    logits: dict[str, Tensor],
) -> list[Example]:
    labels, several = torch.tensor([classes.index(pair.region.label) for pair in pairs]), split.targets.ndim == 2
    own = {name: answered(each[: len(pairs)], labels, several) for name, each in logits.items()}
    examples = []
    for place, pair in enumerate(pairs):
        title = f"{pair.region.label}, pasted onto {_named(split.targets[pair.onto], classes)}"
        shown = {name: each[place].cpu() for name, each in pictures.items()}
        answers = {name: (classes[int(each[place].argmax())], bool(own[name][place])) for name, each in logits.items()}
        examples.append(Example(title, pair.region.mask, shown, answers))
    return examples
