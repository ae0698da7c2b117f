"""The proof of cures: their reports, and interventions on any image for both classifiers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from nicegui import html, ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from looksharp.studio.controls import press, select
from looksharp.studio.exchanging import MASKS, Intervened, intervened, with_marks
from looksharp.studio.layout import put, reporting
from looksharp.studio.pieces import shown_classes
from looksharp.studio.reports import reports
from looksharp.studio.routes import image_address
from looksharp.studio.workspace import Workspace

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.training.folder import Run

__all__ = ["Proving"]

_SHOWN = 24  # images of a page
_BEGIN = """(event) => {
  event.currentTarget.setPointerCapture(event.pointerId);
  event.currentTarget.from = [event.clientX, event.clientY];
}"""
_END = """(event) => {
  const { from } = event.currentTarget, box = event.currentTarget.getBoundingClientRect();
  if (from) emit((event.clientY - from[1]) / box.height, (event.clientX - from[0]) / box.width);
}"""
_STEP = 1 / 8  # of the image's side, by which the object is moved


class Proving:
    """Reports and interventions.

    Args:
        workspace: the opened run.
        data: its images.
        run: its network.
    """

    def __init__(self, workspace: Workspace, data: Data, run: Run) -> None:
        self.workspace, self.data, self.run = workspace, data, run
        self.split, self.first = next(iter(data.tests)), 0
        self.image: int | None = None
        self.onto: int | None = None
        self.masks, self.shift = "mark", (0, 0)
        beside, cures = workspace.settings.beside, list(reports(workspace.path))
        self.other = beside.name if beside is not None else f"{cures[0]}: cure" if cures else ""

    async def build(self) -> None:
        """Put all of it on the page."""
        marks = self.workspace.folder / "marks.json"
        if marks.is_file():
            self.data = await self.workspace.work(with_marks, self.data, str(marks), self.run.config.training.seed)
        if self.data.splits[self.split].marks is None:
            self.masks = "evidence"
        with put(html.section, aria_labelledby="report"):
            put(html.h2, "Report", id="report")
            self._draw_reports()
        with put(html.section, aria_labelledby="try"):
            put(html.h2, "Try it on any image", id="try")
            put(
                html.p,
                "Drag an image onto another one to put its object into the other's surroundings; or press one image "
                "for the object, then another for the surroundings.",
            )
            self._draw_controls()
            self.result = put(html.div, classes="panel", aria_live="polite")
            self.result.set_visibility(False)
            self.images = put(html.div)
        _again(self.images, self._draw_images)

    def _draw_reports(self) -> None:
        found = list(reports(self.workspace.path))
        if not found:
            with put(html.p, "No cure of this run has a report yet. "):
                put(html.a, "Retrain", href="/retrain")
            return

        async def show(name: str) -> None:
            _again(place, lambda: _frame(name))

        with put(html.div, classes="controls"):
            select("Cure", {name: name for name in found}, found[0], show)
        place = put(html.div)
        _again(place, lambda: _frame(found[0]))

    def _draw_controls(self) -> None:
        async def to_split(value: str) -> None:
            self.split, self.first, self.image, self.onto = value, 0, None, None
            self.result.set_visibility(False)
            _again(self.images, self._draw_images)

        async def to_masks(value: str) -> None:
            self.masks = value
            await self._intervene()

        async def to_other(value: str) -> None:
            self.other = value
            await self._intervene()

        splits = {name: f"{name} ({len(split):,})" for name, split in self.data.splits.items()}
        with put(html.div, classes="controls", role="group", aria_label="Interventions"):
            select("Split", splits, self.split, to_split)
            select("What is cut out", MASKS, self.masks, to_masks)
            select(
                "Beside the run",
                {"": "nothing"} | {name: name for name in self.workspace.others()},
                self.other,
                to_other,
            )

    def _draw_images(self) -> None:
        count = len(self.data.splits[self.split])
        last = min(self.first + _SHOWN, count)
        with put(html.div, classes="pages"):
            self._page("Previous", "p", self.first - _SHOWN, self.first > 0)
            self._page("Next", "n", self.first + _SHOWN, last < count)
            put(html.p, f"{self.first + 1:,} to {last:,} of {count:,} images", role="status")
        with put(html.ol, classes="grid"):
            for place in range(self.first, last):
                with put(html.li):
                    self._draw_cell(place)

    def _page(self, text: str, key: str, first: int, possible: bool) -> None:
        async def act() -> None:
            self.first = max(first, 0)
            _again(self.images, self._draw_images)

        press(text, act, data_key=key, disabled=not possible)

    def _draw_cell(self, place: int) -> None:
        """Put an image that can be pressed, dragged, and dropped onto."""
        split = self.data.splits[self.split]
        role = {self.image: "the object", self.onto: "the surroundings"}.get(place, "")

        async def act() -> None:
            await self._choose(place)

        cell = press(
            "", act, "cell", title=split.name(place), draggable="true", aria_pressed="true" if role else "false"
        )
        cell.on("dragstart", js_handler=f"(event) => event.dataTransfer.setData('text/plain', 'image-{place}')")
        cell.on("dragover", js_handler="(event) => event.preventDefault()")
        drop = "(event) => { event.preventDefault(); emit(event.dataTransfer.getData('text/plain')); }"
        cell.on("drop", self._dropped(place), js_handler=drop)
        with cell:
            put(html.img, src=image_address(self.split, place), alt="", loading="lazy", width=160, height=160)
            put(html.span, shown_classes(split, place, self.run.classes))
            if role:
                put(html.b, role)

    def _dropped(self, onto: int) -> Callable[[GenericEventArguments], Awaitable[None]]:
        handle = reporting(self._exchange)

        async def dropped(event: GenericEventArguments) -> None:
            kind, _, number = str(event.args).partition("-")
            if kind == "image" and number.isdecimal() and int(number) < len(self.data.splits[self.split]):
                await handle(int(number), onto)

        return dropped

    async def _choose(self, place: int) -> None:
        """Take an image as the object, or as the surroundings of the one that was chosen before."""
        if self.image is None or self.onto is not None:
            self.image, self.onto = place, None
            _again(self.images, self._draw_images)
        else:
            await self._exchange(self.image, place)

    async def _exchange(self, image: int, onto: int) -> None:
        self.image, self.onto, self.shift = image, onto, (0, 0)
        _again(self.images, self._draw_images)
        await self._intervene()

    async def _intervene(self) -> None:
        if self.image is None or self.onto is None:
            return
        runs = {self.workspace.title: self.run}
        if self.other:
            runs[self.other] = await self.workspace.other(self.other)
        split = self.data.splits[self.split]
        found = await self.workspace.compute(intervened, runs, split, self.image, self.onto, self.masks, self.shift)
        self.result.set_visibility(True)
        _again(self.result, lambda: self._draw_result(found))
        ui.run_javascript("document.getElementById('result').scrollIntoView({block: 'nearest'})")

    def _draw_result(self, found: list[Intervened]) -> None:
        put(html.h3, "Answers", id="result")
        with put(html.div, classes="tried"):
            for each in found:
                heard = "; ".join(f"{name}: {answer}" for name, answer in each.answers.items())
                with put(html.figure):
                    drawn = put(html.img, src=each.picture, alt=f"{each.title}. {heard}", draggable="false")
                    if each.moves:
                        self._draw_drag(drawn)
                    with put(html.figcaption):
                        put(html.span, each.title, "remark")
                        for name, answer in each.answers.items():
                            put(html.b, f"{name}: {answer}")
        with put(html.div, classes="pages"):
            put(html.p, "Move the object in its new surroundings, or drag it:")
            for text, down, right in (("Left", 0, -1), ("Right", 0, 1), ("Up", -1, 0), ("Down", 1, 0)):
                press(text, self._moving(down, right))

    def _moving(self, down: float, right: float) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await self._move(_STEP * down, _STEP * right)

        return act

    async def _move(self, down: float, right: float) -> None:
        """Move the object by shares of the image's sides, as far as the image reaches."""
        sides, moved = self.run.pixels.size, (down, right)
        by = [round(side * max(min(share, 1), -1)) for side, share in zip(sides, moved, strict=True)]
        found = [max(min(old + new, side - 1), 1 - side) for old, new, side in zip(self.shift, by, sides, strict=True)]
        self.shift = found[0], found[1]
        await self._intervene()

    def _draw_drag(self, drawn: Element) -> None:
        """Let the object be dragged in its picture."""
        handle = reporting(self._move)

        async def moved(event: GenericEventArguments) -> None:
            down, right = map(float, event.args)
            await handle(down, right)

        drawn.classes("movable").on("pointerdown", js_handler=_BEGIN).on("pointerup", moved, js_handler=_END)


def _frame(name: str) -> None:
    address = f"/report/{quote(name, safe='')}/report.html"
    put(html.iframe, classes="report", src=address, title=f"Report of {name}")
    with put(html.p):
        put(html.a, "Open the report by itself", href=address, target="_blank")


def _again(element: Element, draw: Callable[[], None]) -> None:
    """Empty an element and fill it anew."""
    element.clear()
    with element:
        draw()
