"""The groups of suspects as cards with three choices each: a shortcut, the object, or neither."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from nicegui import html
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from looksharp.drawing.wording import in_words
from looksharp.studio.controls import press
from looksharp.studio.layout import put, reporting
from looksharp.studio.pieces import pasted, piece_pictures
from looksharp.studio.ticked import Ticked, read_ticked, write_ticked
from looksharp.studio.workspace import Workspace

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.suspects.groups import Figure, Group, Groups
    from looksharp.training.folder import Run

__all__ = ["Cards"]

_CHOICES = {"shortcut": "Shortcut", "object": "Object", "": "Leave it"}
_CLASSES = 3  # that are named


class Cards:
    """Cards of groups, and what is ticked.

    Args:
        workspace: the opened run.
        data: its images.
        run: its network.
        groups: the groups, which are of these.
    """

    def __init__(self, workspace: Workspace, data: Data, run: Run, groups: Groups) -> None:
        self.workspace, self.data, self.run, self.groups = workspace, data, run, groups
        self.ticked, self.writing = read_ticked(workspace.folder), asyncio.Lock()

    async def build(self) -> None:
        """Put the cards on the page, then their pictures."""
        decide = sum(group.verdict == "decides" for group in self.groups)
        put(
            html.p,
            f"{decide} of {len(self.groups)} groups hold a piece that carries the answer along where it is pasted.",
        )
        self.state = put(html.p, role="status")
        self._say()
        with put(html.p):
            put(html.a, "All tests, with pictures", href="/report/groups/index.html", target="_blank")
        with put(html.div, classes="cards"):
            rows = [(group, self._card(group)) for group in self.groups if group.regions]
        for group, row in rows:
            shown = await self.workspace.work(piece_pictures, self.data, self.run.pixels, group)
            with row:
                for title, source in shown:
                    put(html.img, src=source, alt=f"{title}, its piece outlined", width=192, height=192)

    def _card(self, group: Group) -> Element:
        """Put a card; return the row for its pictures."""
        title = f"group-{group.number}"
        with put(html.article, classes="sample card", aria_labelledby=title):
            put(html.h2, f"Group {group.number}: {_classes(group)}", id=title)
            area = sum(region.share for region in group.regions) / len(group.regions)
            put(html.p, f"{len(group.images):,} images. The piece is {in_words(area, True)} of an image.")
            row = put(html.div, classes="row")
            with put(html.dl):
                _told("Pasted onto images of other classes, it decides", group.tests, "follows")
                _told("Without it, right answers lost", group.tests, "lost")
            put(html.p, group.reason, "note")
            self._draw_choices(group)
            self._draw_paste(group)
        return row

    def _draw_choices(self, group: Group) -> None:
        chosen = next((name for name in ("shortcut", "object") if group.number in getattr(self.ticked, name)), "")

        async def tick(name: str) -> None:
            kept = {each: set(getattr(self.ticked, each)) - {group.number} for each in ("shortcut", "object")}
            if name:
                kept[name].add(group.number)
            self.ticked = Ticked(tuple(sorted(kept["shortcut"])), tuple(sorted(kept["object"])))
            async with self.writing:  # one after the other, the last one with all ticks
                await self.workspace.work(write_ticked, self.workspace.folder, self.ticked.shortcut, self.ticked.object)
            self._say()

        with put(html.fieldset, classes="choice"):
            put(html.legend, "The piece is")
            for name, text in _CHOICES.items():
                with put(html.label):
                    put(html.input_, type="radio", name=f"tick-{group.number}", value=name, checked=name == chosen).on(
                        "change", _ticking(tick, name), args=[]
                    )
                    put(html.span, text)

    def _draw_paste(self, group: Group) -> None:
        """Put a button that pastes the piece onto another image, each time another one."""
        turn = 0

        async def paste() -> None:
            nonlocal turn
            tried = await self.workspace.compute(pasted, self.run, self.data, group, turn)
            turn += 1
            place.clear()
            with place:
                for each in tried:
                    with put(html.figure):
                        put(html.img, src=each.picture, alt=f"{each.title}; answered {each.answer}")
                        with put(html.figcaption):
                            put(html.b, each.answer)
                            put(html.span, each.title, "remark")

        press("Paste it onto another image", paste)
        place = put(html.div, classes="row", aria_live="polite")

    def _say(self) -> None:
        shortcut, objects = len(self.ticked.shortcut), len(self.ticked.object)
        self.state.clear()
        with self.state:
            put(html.span, f"Ticked: {shortcut} as a shortcut, {objects} as the object. Every tick is kept at once. ")
            if shortcut or objects:
                put(html.a, "Retrain with them", href="/retrain")


def _ticking(tick: Callable[[str], Awaitable[None]], name: str) -> Callable[[GenericEventArguments], Awaitable[None]]:
    handle = reporting(tick)

    async def ticked(_: GenericEventArguments) -> None:
        await handle(name)

    return ticked


def _classes(group: Group) -> str:
    named = [f"{name} ({count:,})" for name, count in list(group.classes.items())[:_CLASSES]]
    more = len(group.classes) - _CLASSES
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _told(text: str, tests: dict[str, Figure], name: str) -> None:
    own, random = tests.get(name), tests.get(f"{name}_random")
    with put(html.div):
        put(html.dt, text)
        said = "not tested" if own is None else f"{in_words(own.share, True)} of {own.images}"
        against = "" if random is None else f"; a random piece: {in_words(random.share, True)}"
        put(html.dd, said + against)
