"""The proof of cures: their reports, and interventions on any image for both classifiers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from nicegui import html, ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from looksharp.studio.controls import press, select
from looksharp.studio.exchanging import MASKS, Intervened, another, intervened, with_marks
from looksharp.studio.layout import again, put, reporting, write
from looksharp.studio.paging import Paging
from looksharp.studio.pieces import shown_classes
from looksharp.studio.reports import reports
from looksharp.studio.routes import image_address
from looksharp.studio.run_marks import marked_for_training, run_marks
from looksharp.studio.workspace import Workspace

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.training.folder import Run

__all__ = ["Proving"]

_SHOWN = 24  # images of a page
# The object follows the pointer; where it is let go is said to the server, in shares of the image's sides.
_BEGIN = """(event) => {
  const shown = event.currentTarget;
  shown.setPointerCapture(event.pointerId);
  shown.from = [event.clientX, event.clientY];
}"""
_DRAG = """(event) => {
  const { from, lastElementChild: piece } = event.currentTarget;
  if (from) piece.style.cssText = `opacity: .8; translate: ${event.clientX - from[0]}px ${event.clientY - from[1]}px`;
}"""
_GIVE_UP = """(event) => {
  event.currentTarget.from = null;
  event.currentTarget.lastElementChild.style.cssText = "";
}"""
_END = """(event) => {
  const { from } = event.currentTarget, box = event.currentTarget.getBoundingClientRect();
  if (!from) return;
  const [right, down] = [event.clientX - from[0], event.clientY - from[1]];
  event.currentTarget.from = null;
  if (right || down) emit(down / box.height, right / box.width);
}"""
_HOW = (
    "Press an image: you see its object in the surroundings of another one, alone, and gone. Press a second one to "
    "choose the surroundings yourself, or drag the first one onto it."
)
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
        self.split, self.paging = next(iter(data.tests)), Paging(_SHOWN, self._draw_images)
        self.image, self.onto = -1, -1  # the object's and the surroundings'; -1 before one is chosen
        self.chosen = True  # what lends the surroundings was chosen, so that the next image is an object
        self.cells: dict[int, tuple[Element, Element]] = {}
        self.masks, self.shift, self.turn = "mark", (0, 0), 0
        beside, cures = workspace.settings.beside, list(reports(workspace.path))
        self.other = beside.name if beside is not None else f"{cures[0]}: cure" if cures else ""

    async def build(self) -> None:
        """Put all of it on the page."""
        store, seed = run_marks(self.workspace, self.data), self.run.config.training.seed
        if await self.workspace.work(marked_for_training, store, self.data):
            self.data = await self.workspace.work(with_marks, self.data, str(store.path), seed)
        with put(html.section, aria_labelledby="report"):
            put(html.h2, "Report", id="report")
            self._draw_reports()
        with put(html.section, aria_labelledby="try"):
            put(html.h2, "Try it on any image", id="try")
            put(html.p, _HOW)
            self._draw_controls()
            self._draw_result()
            self.paging.build()
            self.images = put(html.ol, classes="grid")
        self._draw_images()

    def _draw_result(self) -> None:
        """Put the place of the answers, and the buttons that move the object, which stay while answers come."""
        with put(html.div, classes="panel", id="result") as self.result:
            put(html.h3, "Answers")
            self.tried = put(html.div, classes="tried", aria_live="polite")
            with put(html.div, classes="pages", role="group", aria_label="Place of the object"):
                put(html.p, "Move the object in its new surroundings, or drag it:")
                for text, down, right in (("Left", 0, -1), ("Right", 0, 1), ("Up", -1, 0), ("Down", 1, 0)):
                    press(text, self._moving(down, right))
        self.result.set_visibility(False)

    def _draw_reports(self) -> None:
        found = list(reports(self.workspace.path))
        if not found:
            with put(html.p, "No cure of this run has a report yet. "):
                put(html.a, "Retrain", href="/retrain")
            return

        async def show(name: str) -> None:
            again(place, lambda: _frame(name))

        with put(html.div, classes="controls"):
            select("Cure", {name: name for name in found}, found[0], show)
        place = put(html.div)
        again(place, lambda: _frame(found[0]))

    def _draw_controls(self) -> None:
        async def to_split(value: str) -> None:
            self.split, self.paging.first, self.image, self.onto, self.chosen = value, 0, -1, -1, True
            self.result.set_visibility(False)
            self._draw_images()

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
        count, first = len(self.data.splits[self.split]), self.paging.first
        self.paging.tell(count)
        self.images.clear()
        self.cells = {}
        with self.images:
            for place in range(first, min(first + _SHOWN, count)):
                with put(html.li):
                    self.cells[place] = self._draw_cell(place)
        self._tell()

    def _tell(self) -> None:
        """Say in the grid which images are the object and the surroundings."""
        roles = {self.image: "the object", self.onto: "the surroundings"}
        for place, (cell, role) in self.cells.items():
            cell.props["aria-pressed"] = "true" if place in roles else "false"
            write(role, roles.get(place, ""))

    def _draw_cell(self, place: int) -> tuple[Element, Element]:
        """Put an image that can be pressed, dragged, and dropped onto; return it and the place of its role."""
        split = self.data.splits[self.split]

        async def act() -> None:
            await self._choose(place)

        cell = press("", act, "cell", title=split.name(place), draggable="true", aria_pressed="false")
        cell.on("dragstart", js_handler=f"(event) => event.dataTransfer.setData('text/plain', 'image-{place}')")
        cell.on("dragover", js_handler="(event) => event.preventDefault()")
        drop = "(event) => { event.preventDefault(); emit(event.dataTransfer.getData('text/plain')); }"
        cell.on("drop", self._dropped(place), js_handler=drop)
        with cell:
            put(html.img, src=image_address(self.split, place), alt="", loading="lazy", width=160, height=160)
            put(html.span, shown_classes(split, place, self.run.classes))
            return cell, put(html.b)

    def _dropped(self, onto: int) -> Callable[[GenericEventArguments], Awaitable[None]]:
        handle = reporting(self._exchange)

        async def dropped(event: GenericEventArguments) -> None:
            kind, _, number = str(event.args).partition("-")
            if kind == "image" and number.isdecimal() and int(number) < len(self.data.splits[self.split]):
                await handle(int(number), onto)

        return dropped

    async def _choose(self, place: int) -> None:
        """Take an image as the object, or as the surroundings of the one that was chosen before."""
        if self.chosen or place == self.image:
            await self._exchange(place, another(self.data.splits[self.split].targets, place), chosen=False)
        else:
            await self._exchange(self.image, place)

    async def _exchange(self, image: int, onto: int, *, chosen: bool = True) -> None:
        self.image, self.onto, self.shift, self.chosen = image, onto, (0, 0), chosen
        self._tell()
        await self._intervene()
        ui.run_javascript("document.getElementById('result').scrollIntoView({block: 'nearest'})")

    async def _intervene(self) -> None:
        """Show the interventions as they are chosen now; what was chosen before and comes late is not shown."""
        if self.image < 0:
            return
        self.turn += 1
        turn, runs = self.turn, {self.workspace.title: self.run}
        if self.other:
            runs[self.other] = await self.workspace.other(self.other)
        split = self.data.splits[self.split]
        asked = self.image, self.onto, self.masks, self.shift
        try:
            found = await self.workspace.compute(intervened, runs, split, *asked)
        except ValueError:
            self.result.set_visibility(False)  # it shows what was asked before
            self.chosen = True
            raise
        if turn == self.turn:
            self.result.set_visibility(True)
            again(self.tried, lambda: self._draw_tried(found))

    def _draw_tried(self, found: list[Intervened]) -> None:
        for each in found:
            heard = "; ".join(f"{name}: {answer}" for name, answer in each.answers.items())
            with put(html.figure):
                with put(html.div, classes="laid") as shown:
                    put(html.img, src=each.picture, alt=f"{each.title}. {heard}", draggable="false")
                    if each.piece:
                        put(html.img, classes="over", src=each.piece, alt="", draggable="false")
                        self._let_drag(shown)
                with put(html.figcaption):
                    put(html.span, each.title, "remark")
                    for name, answer in each.answers.items():
                        put(html.b, f"{name}: {answer}")

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

    def _let_drag(self, shown: Element) -> None:
        """Let the object be dragged in its picture."""
        handle = reporting(self._move)

        async def moved(event: GenericEventArguments) -> None:
            down, right = map(float, event.args)
            await handle(down, right)

        shown.classes("movable").on("pointerdown", js_handler=_BEGIN).on("pointermove", js_handler=_DRAG)
        shown.on("pointercancel", js_handler=_GIVE_UP).on("pointerup", moved, js_handler=_END)


def _frame(name: str) -> None:
    address = f"/report/{quote(name, safe='')}/report.html"
    put(html.iframe, classes="report", src=address, title=f"Report of {name}")
    with put(html.p):
        put(html.a, "Open the report by itself", href=address, target="_blank")
