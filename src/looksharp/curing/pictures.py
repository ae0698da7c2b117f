"""Draw the examples of a cure, on the page and as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from looksharp.curing.results import Example, Shown
from looksharp.drawing.figures import attention_grid
from looksharp.drawing.overlay import common_scale, draw_outline, draw_panel, picture
from looksharp.drawing.panel import Panel
from looksharp.drawing.parts import Picture, embed, shrink
from looksharp.files import replacing

__all__ = ["ShownExample", "ShownPicture", "draw_examples", "show_example"]

_CELL = 1.9  # inches
_LINE = 0.17  # inches a line of text takes
_GREEN, _RED = "#0a6b2d", "#b3261e"


@dataclass(frozen=True)
class ShownPicture:
    """A picture on the page, with each classifier's answer and evidence."""

    label: str
    picture: Picture
    answers: Mapping[str, tuple[str, bool]]
    maps: dict[str, Picture]


@dataclass(frozen=True)
class ShownExample:
    """An example on the page."""

    title: str
    pictures: tuple[ShownPicture, ...]


def show_example(example: Example) -> ShownExample:
    """Embed an example's pictures; the maps of a picture share one signed scale."""
    return ShownExample(example.title, tuple(_show(example.title, shown) for shown in example.pictures))


def _show(title: str, shown: Shown) -> ShownPicture:
    image, (peak, _) = shrink(shown.image), common_scale(shown.maps.values())
    heard = ", ".join(f"{name}: {answer}" for name, (answer, _) in shown.answers.items())
    maps = {
        name: embed(
            draw_panel(image, panel, peak, signed=True),
            shown.outline,
            f"{title}, {shown.label}: where the evidence of {name} lies, {panel.title}"
            + (f" ({panel.remark})" if panel.remark else ""),
            panel,
        )
        for name, panel in shown.maps.items()
    }
    alt = f"{title}, {shown.label}. {heard}"
    return ShownPicture(shown.label, embed(picture(image), shown.outline, alt), shown.answers, maps)


def draw_examples(folder: Path, examples: Sequence[Example]) -> None:
    """Write example-N.png, the interventions with each classifier's answer, and evidence-N.png, the maps."""
    for number, example in enumerate(examples, 1):
        with replacing(folder / f"example-{number}.png") as temporary:
            temporary.write_bytes(_draw_answers(example))
        shown = [each for each in example.pictures if each.maps]
        if shown:
            attention_grid(
                [(shrink(each.image), _named(each.maps)) for each in shown],
                folder / f"evidence-{number}.png",
                titles=[f"{example.title}, {each.label}" for each in shown],
                outlines=[each.outline for each in shown],
            )


def _named(maps: Mapping[str, Panel]) -> list[Panel]:
    return [replace(panel, title=f"{name}: {panel.title}") for name, panel in maps.items()]


def _draw_answers(example: Example) -> bytes:
    from matplotlib.figure import Figure

    lines = max(len(shown.answers) for shown in example.pictures)
    figure = Figure((_CELL * len(example.pictures), _CELL + _LINE * (lines + 3)), layout="constrained")
    figure.suptitle(example.title, fontsize=10, parse_math=False)
    for axes, shown in zip(figure.subplots(1, len(example.pictures), squeeze=False)[0], example.pictures, strict=True):
        pixels = picture(shrink(shown.image))
        axes.imshow(pixels if shown.outline is None else draw_outline(pixels, shown.outline), interpolation="none")
        axes.set(xticks=[], yticks=[])
        axes.set_title(shown.label, fontsize=8, parse_math=False)
        for place, (name, (answer, right)) in enumerate(shown.answers.items()):
            axes.annotate(
                f"{name}: {answer}",
                (0, 0),
                (0, -10 - 11 * place),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=8,
                color=_GREEN if right else _RED,
                parse_math=False,
            )
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight", pad_inches=0.06)  # however many answers
    return buffer.getvalue()
