"""The images of a split as a grid, chosen and ordered by what the network answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from nicegui import html, ui
from nicegui.element import Element

from looksharp.drawing.wording import in_words
from looksharp.studio.choosing import OUTCOMES, Asked, chosen, confusions
from looksharp.studio.controls import press, select, text_field
from looksharp.studio.cue_shares import Shares
from looksharp.studio.layout import again, put, write
from looksharp.studio.paging import Paging
from looksharp.studio.predictions import Answers
from looksharp.studio.routes import image_address
from looksharp.studio.ticked import groups_file, read_ticked
from looksharp.studio.workspace import Workspace

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.training.folder import Run

__all__ = ["Grid"]

_SHOWN = 48  # images of a page
_PAIRS = 12  # confused pairs that are listed
_TABLE = 20  # classes of the largest table of confusions
_STEPS = 20  # times that accuracy and confusions are drawn while answers come in
_LISTED = 100  # classes of a list to choose from
_SUGGESTED = 1000  # names of more
_SMALL = 96  # px: images up to this side are shown pixel by pixel
_CUE = "cue"
_ORDERS = {
    "": "order of the data",
    "loss": "loss, highest first",
    "confidence": "confidence, lowest first",
    _CUE: "share of evidence on a cue, highest first",
}


class Grid:
    """Filters, accuracy, confusions and images, of which a page at a time is shown.

    Args:
        workspace: the opened run.
        data: its images.
        run: its network.
        opened: is called with split and place of an image that is clicked.
    """

    def __init__(
        self, workspace: Workspace, data: Data, run: Run, opened: Callable[[str, int], Awaitable[None]]
    ) -> None:
        self.workspace, self.data, self.run, self.opened = workspace, data, run, opened
        self.split, self.asked = next(iter(data.tests)), Asked()
        self.paging = Paging(_SHOWN, self._draw_images)
        self.small = max(run.pixels.size) <= _SMALL
        self.pairs: dict[tuple[int, int], Element] = {}  # buttons of confused pairs
        self.drawn = (-1, -1)  # numbers of answers and shares when the page was drawn
        self.places = np.arange(0)  # of the images of the present choice
        self.cells: tuple[str, list[tuple[int, int, float]]] = ("", [])  # what is drawn of them

    @property
    def answers(self) -> Answers:
        """Return the answers to the split."""
        return self.workspace.predictions.of(self.run, self.data, self.split)

    def draw_figures(self) -> None:
        """Put accuracy and confusions on the page."""
        with put(html.section, aria_labelledby="answers"):
            put(html.h2, "Answers", id="answers")
            self.figures = put(html.div)

    def draw_images(self) -> None:
        """Put filters and images on the page, and follow the answers as they come."""
        with put(html.section, aria_labelledby="images"):
            put(html.h2, "Images", id="images")
            self.filters = put(html.div, classes="controls", role="group", aria_label="Choice of images")
            self.measured = put(html.p, classes="note", role="status")
            self.paging.build()
            self.images = put(html.ol, classes="grid")
        self._draw()
        ui.timer(1.0, self._follow)

    async def _follow(self) -> None:
        """Draw again while answers come in."""
        if self.drawn == self._known():
            return
        before, self.drawn = self.drawn, self._known()
        # Seldom and as little as can be: what is drawn again loses the focus.
        steps = [known * _STEPS // len(self.answers) for known, _ in (before, self.drawn)]
        if self.answers.finished or self.answers.error or steps[0] != steps[1]:
            again(self.figures, self._draw_figures)
        self._draw_images()

    def _cells(self) -> tuple[str, list[tuple[int, int, float]]]:
        """Return what the page of images shows: the split, and place, answer and share of each image."""
        shares = self._shares().values if self.asked.order == _CUE else None
        return self.split, [
            (place, int(self.answers.answer[place]), -1 if shares is None or np.isnan(shares[place]) else shares[place])
            for place in self._page(self.places)
        ]

    def _page(self, places: npt.NDArray[np.int64]) -> list[int]:
        """Return the places that are on the page."""
        return places[self.paging.first : self.paging.first + _SHOWN].tolist()

    def _known(self) -> tuple[int, int]:
        """Return how many answers and shares there are; -1 for what has failed or is not asked for."""
        shares = self._shares() if self.asked.order == _CUE else None
        answers = -1 if self.answers.error else self.answers.known
        return answers, -1 if shares is None or shares.error else shares.known

    def _draw(self) -> None:
        self.drawn = self._known()
        again(self.figures, self._draw_figures)
        again(self.filters, self._draw_filters)
        self._draw_images()

    async def _ask(self, asked: Asked, split: str | None = None) -> None:
        """Show other images; the filters that say so keep the focus."""
        moved, self.asked, self.split, self.paging.first = bool(split), asked, split or self.split, 0
        if asked.order == _CUE:
            try:
                self._shares()
            except ValueError:
                self.asked = replace(asked, order="")
                self._draw()
                raise
        if moved:
            self.drawn = self._known()
            again(self.figures, self._draw_figures)
        for pair, button in self.pairs.items():
            button.props["aria-pressed"] = self._pressed(*pair)
        self._draw_images()

    def _draw_figures(self) -> None:
        answers = self.answers
        if answers.error:
            put(html.p, f"The answers to {self.split} cannot be found: {answers.error}", "error", role="alert")
        if not answers.finished and not answers.error:
            text = f"{answers.known:,} of {len(answers):,} images of {self.split} are answered"
            with put(html.p):
                put(html.progress, max=len(answers), value=answers.known, aria_label=text)
                put(html.span, f" {text}")
        said = f"{in_words(answers.accuracy, True)} right of {answers.known:,} images of {self.split}"
        put(html.p, said, "summary")
        pairs, self.pairs = confusions(answers), {}
        if pairs:
            self._draw_pairs(pairs)
        if 1 < len(self.data.classes) <= _TABLE:
            self._draw_table(answers, pairs)

    def _draw_pairs(self, pairs: dict[tuple[int, int], int]) -> None:
        names = self.data.classes
        put(html.h3, "Confusions")
        with put(html.ul, classes="pairs"):
            for (label, answer), count in list(pairs.items())[:_PAIRS]:
                with put(html.li):
                    self._pair_button(f"{names[label]} taken for {names[answer]}: {count:,}", label, answer)

    def _draw_table(self, answers: Answers, pairs: dict[tuple[int, int], int]) -> None:
        """Put a table of all answers by true class."""
        names, right = self.data.classes, answers.right
        with put(html.details):
            put(html.summary, "All answers as a table")
            with (
                put(html.div, classes="scroll", role="region", aria_label="Table: answers", tabindex="0"),
                put(html.table),
            ):
                put(html.caption, "Images by the class that they show (rows) and the class that is answered (columns)")
                with put(html.thead), put(html.tr):
                    put(html.th, "shows", scope="col")
                    for name in names:
                        put(html.th, name, scope="col")
                with put(html.tbody):
                    for label, name in enumerate(names):
                        with put(html.tr):
                            put(html.th, name, scope="row")
                            hits = int((right & (answers.answer == label)).sum())
                            for answer in range(len(names)):
                                count = hits if answer == label else pairs.get((label, answer), 0)
                                put(html.td, f"{count:,}", "best" if answer == label else "")

    def _pair_button(self, text: str, label: int, answer: int) -> None:
        async def act() -> None:
            pair = (None, None) if self._pressed(label, answer) == "true" else (label, answer)
            await self._ask(replace(self.asked, label=pair[0], answer=pair[1], outcome=""))
            again(self.filters, self._draw_filters)

        self.pairs[label, answer] = press(text, act, aria_pressed=self._pressed(label, answer))

    def _pressed(self, label: int, answer: int) -> str:
        return "true" if (self.asked.label, self.asked.answer) == (label, answer) else "false"

    def _draw_filters(self) -> None:
        asked = self.asked
        splits = {name: f"{name} ({len(split):,})" for name, split in self.data.splits.items()}

        def to(change: Callable[[str], Asked]) -> Callable[[str], Awaitable[None]]:
            async def act(value: str) -> None:
                await self._ask(change(value))

            return act

        async def to_split(value: str) -> None:
            await self._ask(self.asked, value)

        select("Split", splits, self.split, to_split)
        self._class_choice("Shows", asked.label, to(lambda value: replace(self.asked, label=self._class(value))))
        self._class_choice(
            "Answered with", asked.answer, to(lambda value: replace(self.asked, answer=self._class(value)))
        )
        select("Answer is", OUTCOMES, asked.outcome, to(lambda value: replace(self.asked, outcome=value)))
        select("Order", _ORDERS, asked.order, to(lambda value: replace(self.asked, order=value)))

    def _class_choice(self, label: str, chosen: int | None, act: Callable[[str], Awaitable[None]]) -> None:
        """Put a list of the classes; of many, a line to type a name into."""
        names, name = self.data.classes, "" if chosen is None else self.data.classes[chosen]
        if len(names) <= _LISTED:
            select(label, {"": "any class"} | {each: each for each in names}, name, act)
            return
        listed = f"classes-{label}".replace(" ", "-")
        text_field(f"{label}, of {len(names):,} classes", name, act, suggested=listed)
        with put(html.datalist, id=listed):
            for each in names[:_SUGGESTED]:
                put(html.option, value=each)

    def _class(self, name: str) -> int | None:
        if name and name not in self.data.classes:
            raise ValueError(f"class {name!r:.100} is not one of the {len(self.data.classes):,} classes")
        return self.data.classes.index(name) if name else None

    def _values(self) -> npt.NDArray[np.floating] | None:
        if self.asked.order == _CUE:
            return self._shares().values
        return {"": None, "loss": self.answers.loss, "confidence": -self.answers.confidence}[self.asked.order]

    def _shares(self) -> Shares:
        """Return the shares of evidence on a cue, which training images alone have.

        Raises:
            ValueError: if there are no groups, or other images are shown.
        """
        path = groups_file(self.workspace.folder, self.workspace.settings.cues)
        if not path.is_file():
            raise ValueError("no cue is known yet: find groups first, on the Find page")
        if self.split != "train":
            raise ValueError(f"cues are known for images of train, not of {self.split}: choose that split")
        return self.workspace.cue_shares.of(self.run, self.data, path, read_ticked(self.workspace.folder))

    def _draw_images(self) -> None:
        self.places = chosen(self.answers, self.asked, self._values())
        self._tell_shares()
        self.paging.tell(len(self.places))
        if self.cells == self._cells():
            return  # an image that is drawn again loses the focus, and a click that is on its way
        self.cells = self._cells()
        self.images.clear()
        with self.images:
            for place in self._page(self.places):
                with put(html.li):
                    self._draw_cell(place)

    def _tell_shares(self) -> None:
        """Say how far the shares of evidence are measured, where images are ordered by them."""
        shares = self._shares() if self.asked.order == _CUE else None
        if shares is None:
            write(self.measured, "")
        elif shares.error:
            write(self.measured, f"The shares of evidence cannot be measured: {shares.error}")
        else:
            done = "" if 0 < shares.pieces == shares.known else "so far"
            write(
                self.measured,
                f"Evidence is measured for {shares.known:,} of {shares.pieces:,} pieces {done}".rstrip() + ".",
            )

    def beside(self, place: int, step: int) -> int:
        """Return the image that comes `step` after another in the present choice; itself at the ends."""
        found = np.flatnonzero(self.places == place)
        if not len(found):
            return place
        return int(self.places[np.clip(found[0] + step, 0, len(self.places) - 1)])

    def _draw_cell(self, place: int) -> None:
        answers, names, split = self.answers, self.data.classes, self.data.splits[self.split]
        known, right = answers.answer[place] >= 0, bool(answers.right[place])
        shows = ", ".join(names[label] for label in answers.labels(place)) or "no class"
        classes = " ".join(["cell", *(["small"] if self.small else []), *(["wrong"] if known and not right else [])])

        async def act() -> None:
            await self.opened(self.split, place)

        with press("", act, classes, title=split.name(place)):
            put(html.img, src=image_address(self.split, place), alt="", loading="lazy", width=160, height=160)
            put(html.span, shows)
            if known and not right:
                put(html.span, f"✗ answered {names[answers.answer[place]]}")
            if self.asked.order == _CUE:
                put(html.span, f"{in_words(float(self._shares().values[place]), True)} on a cue")
