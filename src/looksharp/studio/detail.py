"""One image: the network's answer and its maps, and those of another run beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from nicegui import html, ui

from looksharp.drawing.wording import in_words
from looksharp.studio.class_maps import ClassMap, ImageMaps, MapsAsked, image_maps, layer_names, mechanism_names
from looksharp.studio.controls import checkbox, press, select, text_field
from looksharp.studio.layout import put, said
from looksharp.studio.workspace import Workspace

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.studio.grid import Grid
    from looksharp.training.folder import Run

__all__ = ["Detail"]


class Detail:
    """The panel of one image.

    Args:
        workspace: the opened run.
        data: its images.
        run: its network.
    """

    def __init__(self, workspace: Workspace, data: Data, run: Run) -> None:
        self.workspace, self.data, self.run = workspace, data, run
        self.asked, self.split, self.index = MapsAsked(), "", 0
        beside = workspace.settings.beside
        self.other = "" if beside is None else beside.name
        self.grid: Grid | None = None
        self.turn = 0  # number of the present request: what comes late is not shown

    def build(self) -> None:
        """Put the panel, empty."""
        self.panel = put(html.section, classes="panel", aria_labelledby="image")
        self.panel.set_visibility(False)

    async def show(self, split: str, index: int) -> None:
        """Show an image."""
        self.split, self.index = split, index
        self.panel.set_visibility(True)
        self.panel.clear()
        with self.panel:
            self._draw_head()
            self._draw_controls()
            self.runs = put(html.div, classes="sides")
        ui.run_javascript("document.getElementById('image').focus()")
        await self._show_maps()

    def _draw_head(self) -> None:
        split, names = self.data.splits[self.split], self.data.classes
        target = split.targets[self.index]
        shown = [int(target)] if target.ndim == 0 else (target > 0.5).nonzero().flatten().tolist()
        put(html.h2, f"Image {split.name(self.index)} of {self.split}", id="image", tabindex="-1")
        put(html.p, f"Shows {', '.join(names[label] for label in shown) or 'no class'}.")
        with put(html.div, classes="pages"):
            press("Previous image", self._step(-1), data_key="k")
            press("Next image", self._step(1), data_key="j")
            press("Close", self._close, data_key="Escape")

    def _step(self, by: int) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            if self.grid is not None:
                await self.show(self.split, self.grid.beside(self.index, by))

        return act

    async def _close(self) -> None:
        self.panel.set_visibility(False)
        self.panel.clear()

    def _draw_controls(self) -> None:
        async def to_classes(value: str) -> None:
            await self._ask(replace(self.asked, classes=value.strip() or "top5"))

        async def to_mechanism(value: str) -> None:
            await self._ask(replace(self.asked, mechanism=value))

        async def to_layer(value: str) -> None:
            await self._ask(replace(self.asked, layer=value.strip()))

        async def to_signed(value: bool) -> None:
            await self._ask(replace(self.asked, signed=value))

        async def to_other(value: str) -> None:
            self.other = value
            await self._show_maps()

        asked, others = self.asked, {"": "none"} | {name: name for name in self.workspace.others()}
        mechanisms = {name: f"{name}: {text}" if name else text for name, text in mechanism_names(self.run).items()}
        with put(html.div, classes="controls", role="group", aria_label="Maps"):
            text_field("Classes: top5, or names", asked.classes, to_classes)
            select("Mechanism", mechanisms, asked.mechanism, to_mechanism)
            text_field("Layer, if not the last", asked.layer, to_layer, suggested="layers")
            select("Run beside", others, self.other, to_other)
            with put(html.label):
                put(html.span, "Opacity")
                put(html.input_, type="range", min=0, max=100, value=100, data_opacity="runs")
            checkbox("Evidence against, too", asked.signed, to_signed)
            with put(html.datalist, id="layers"):
                for name in layer_names(self.run):
                    put(html.option, value=name)

    async def _ask(self, asked: MapsAsked) -> None:
        self.asked = asked
        await self._show_maps()

    async def _show_maps(self) -> None:
        self.turn += 1
        turn = self.turn
        self.runs.clear()
        with self.runs:
            places = [put(html.div) for _ in range(2 if self.other else 1)]
        for place, name in zip(places, ("", self.other), strict=False):
            with place:
                put(html.h3, name or self.workspace.title)
                state = put(html.p, "Looking…", "note", role="status")
            found = await self._found(name)
            if turn != self.turn:
                return
            state.delete()
            with place:
                self._draw_maps(found)

    async def _found(self, name: str) -> ImageMaps | str:
        """Return the maps of the run or of another by its name, or why there are none."""
        try:
            run = await self.workspace.other(name) if name else self.run
            split = self.data.splits[self.split]
            return await self.workspace.compute(image_maps, run, split, self.index, self.asked)
        except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: a layer that a mechanism cannot read
            return said(error)

    def _draw_maps(self, found: ImageMaps | str) -> None:
        if isinstance(found, str):
            put(html.p, found, "error", role="alert")
            return
        put(html.p, f"Answers {found.answer}, {in_words(found.confidence, True)}. Layer: {found.layer}.")
        with put(html.div, classes="maps"):
            for each in found.maps:
                self._draw_map(found, each)

    def _draw_map(self, found: ImageMaps, each: ClassMap) -> None:
        with put(html.figure, classes="shown true" if each.true else "shown"):
            with put(html.div, classes="laid"):
                put(html.img, src=found.picture, alt=f"Where the evidence for {each.title} lies")
                if each.picture:
                    put(html.img, classes="over", src=each.picture, alt="")
            with put(html.figcaption):
                put(html.span, each.title + (" (true class)" if each.true else ""))
                if each.remark:
                    put(html.span, each.remark, "remark")
