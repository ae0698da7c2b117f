"""Write the page of the groups: their figures, and pictures of the interventions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from looksharp.data.split import Pixels
from looksharp.drawing.overlay import picture
from looksharp.drawing.parts import Picture, embed, environment, shrink
from looksharp.drawing.wording import in_words
from looksharp.files import write_text
from looksharp.suspects.finding import Found
from looksharp.suspects.groups import Figure, Group
from looksharp.suspects.trials import TESTS, Example

__all__ = ["write_page"]

_LABELS = {
    "follows": "Answer follows the piece",
    "follows_random": "a random piece",
    "lost": "Answer lost without it",
    "lost_random": "without a random piece",
    "alone": "Answer from the piece alone",
}
_CAPTIONS = {
    "original": "the image, its piece outlined",
    "lost": "the piece replaced by its surroundings",
    "alone": "the piece alone",
    "onto": "an image of another class",
    "follows": "the piece pasted onto it",
    "follows_random": "a random piece pasted onto it",
}


@dataclass(frozen=True)
class _Shown:
    """A picture, what it is, and the network's answer to it."""

    picture: Picture
    caption: str
    answer: str
    own: bool


@dataclass(frozen=True)
class _Row:
    """A group as the page shows it."""

    group: Group
    classes: str
    area: str
    cells: dict[str, tuple[str, str]]
    examples: list[tuple[str, list[_Shown]]]


def write_page(out: Path, found: Found, data: str, pixels: Pixels) -> Path:
    """Write OUT/index.html, which holds all it shows.

    Args:
        out: the folder.
        found: the groups that were tested.
        data: the data set's name.
        pixels: the way from images to the network's input, for their colours.

    Returns:
        The page's path.
    """
    rows = [
        _Row(
            group,
            ", ".join(f"{name} ({count:,})" for name, count in list(group.classes.items())[:3])
            + (f" and {len(group.classes) - 3} more" if len(group.classes) > 3 else ""),
            in_words(sum(region.share for region in group.regions) / max(len(group.regions), 1), True),
            {name: _cell(group.tests.get(name)) for name in TESTS},
            [_show(example, pixels) for example in found.examples[group.number]],
        )
        for group in found.groups
    ]
    page = (
        environment()
        .get_template("suspects/page.html.jinja")
        .render(rows=rows, groups=found.groups, data=data, labels=_LABELS, tests=TESTS)
    )
    write_text(out / "index.html", page)
    return out / "index.html"


def _cell(figure: Figure | None) -> tuple[str, str]:
    if figure is None:
        return "–", ""
    low, high = figure.interval
    return in_words(figure.share, True), f"{low:.0%} to {high:.0%} of {figure.images}"


def _show(example: Example, pixels: Pixels) -> tuple[str, list[_Shown]]:
    shown = []
    for name, caption in _CAPTIONS.items():
        answer, own = example.answers[name]
        colours: Tensor = shrink(pixels.denormalize(example.pictures[name]).clamp(0, 1))
        outline = example.mask if name == "original" else None
        alt = f"{caption}; class {example.title}; answered {answer}"
        shown.append(_Shown(embed(picture(colours), outline, alt), caption, answer, own))
    return example.title, shown
