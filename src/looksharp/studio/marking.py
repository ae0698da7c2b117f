"""The Mark page's parts: the image, its proposal, the images worth marking, and marks from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nicegui import html, ui
from nicegui.element import Element

from looksharp.data.mark_names import held_name
from looksharp.marks.union import Mask
from looksharp.studio.canvas import MARKED, PROPOSED, MarkCanvas, overlay
from looksharp.studio.controls import press, select, text_field
from looksharp.studio.importing import import_marks, within
from looksharp.studio.layout import put, write
from looksharp.studio.proposals import LEVELS, Proposal, find_proposal
from looksharp.studio.routes import image_address
from looksharp.studio.run_marks import run_marks
from looksharp.studio.strokes import Stroke
from looksharp.studio.ticked import groups_file
from looksharp.studio.worth import worth_marking

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.studio.workspace import Workspace
    from looksharp.training.folder import Run

__all__ = ["Marking"]

_COUNT = 60  # images that are listed as worth marking, and as many more when asked for
_EVERY = 2.0  # seconds between two looks at what others wrote
_ENOUGH = 60  # marked images, by which a proof tells a remainder of five points from none


class Marking:
    """One visitor's view of the images to mark.

    Args:
        workspace: the opened run.
        data: its images.
        run: its network, which proposes.
    """

    def __init__(self, workspace: Workspace, data: Data, run: Run) -> None:
        self.workspace, self.data, self.run = workspace, data, run
        self.train = data.splits["train"]
        self.store = run_marks(workspace, data)
        self.order: list[int] = []
        self.at, self.label, self.shrunk = 0, 0, 0
        self.proposal: Proposal | None = None
        self.marks: dict[str, Mask] = {}
        self.marked: set[str] = set()
        self.offered = ""  # how the proposal stands
        self._wanted: tuple[int, int] | None = None  # image and class whose evidence is looked for
        self._seen: float | None = None  # time of change of the marks' file when it was read last
        self._turn = asyncio.Lock()  # of whoever reads and writes that file
        self._cells: dict[int, Element] = {}
        self._ticked: set[int] = set()  # images that the list calls marked

    @property
    def index(self) -> int:
        """Return the place of the image that is shown."""
        return self.order[self.at]

    def name(self, index: int) -> str:
        """Return what marks call an image."""
        return held_name(index) if self.train.folder is None else self.train.name(index)

    async def build(self) -> None:
        """Put all of it on the page."""
        self.order = await self.workspace.work(self._worth)
        await self._read()
        unmarked = (place for place, index in enumerate(self.order) if self.name(index) not in self.marked)
        with put(html.section, aria_label="Image to mark"):
            self.said = put(html.p, role="status", classes="summary said")
            self.done = put(html.p, role="status", classes="note done")
            with put(html.div, classes="controls", role="group", aria_label="Image"):
                press("Previous", self._to(-1), data_key="p", title="Previous image (p)")
                press("Next", self._to(1), data_key="n", title="Next image (n)")
                press("Undo", self._undo, data_key="u", title="Take back the last stroke (u)")
                press("Redo", self._redo, data_key="U", title="Put back what was taken back (Shift u)")
                self.classes = put(html.div)
            with put(html.div, classes="controls", role="group", aria_label="Proposal"):
                self.offer = put(html.p, classes="note", role="status")
                press("Accept", self._accept, data_key="a", title="Keep the proposal as a mark (a)")
                press("Shrink", self._shrink, data_key="s", title="Shrink the proposal (s)")
                press("Refuse", self._refuse, data_key="r", title="Refuse the proposal (r)")
            self.canvas = MarkCanvas(self._draw, self._undo, self._redo)
        with put(html.section, aria_labelledby="worth"):
            put(html.h2, "Images worth marking", id="worth")
            put(html.p, _ADVICE, "note")
            self.count = put(html.p, role="status")
            self.cells = put(html.ol, classes="grid")
            self._list()
            press("More images", self._more)
        self._import()
        await self._show(next(unmarked, 0))
        ui.timer(_EVERY, self._follow)

    def _worth(self) -> list[int]:
        """Return the order in which images are marked: by groups, where groups of this run and its images are known."""
        from looksharp.suspects.groups import read_groups

        path, groups = groups_file(self.workspace.folder, self.workspace.settings.cues), []
        if path.is_file():
            try:
                found = read_groups(path)
                found.check(self.run.model, self.train, self.run.pixels)
                groups = [group.images for group in found]
            except ValueError:  # of another run; the page that shows them says so
                groups = []
        order = worth_marking(self.train.targets, groups, len(self.order) + _COUNT)
        if not order:
            raise ValueError(f"{self.data.name} has no training image with a class: nothing can be marked")
        return order

    async def _show(self, at: int) -> None:
        """Show an image, then what the network proposes."""
        self.at, self.proposal, self.shrunk, self._wanted = at % len(self.order), None, 0, None
        index = self.index
        write(self.done, "")
        name = self.name(index)
        true = self._true(index)
        self.label, self.marks = true[0], {}
        size = await self.workspace.work(self.store.images.__getitem__, name)
        if index != self.index:  # a person has gone on
            return
        self.canvas.show(index, image_address("train", index, 0), size, f"Image {name}, shows {self._named(true)}")
        self.classes.clear()
        with self.classes:
            others = [number for number in range(len(self.data.classes)) if number not in true]
            options = {str(number): self.data.classes[number] for number in (*true, *others)}
            select("Mark as", options, str(self.label), self._choose)
        async with self._turn:
            found = await self.workspace.work(self.store.masks, name)
            if index != self.index:
                return
            self.marks = found
        await self._propose()

    async def _propose(self) -> None:
        """Look for the evidence of the chosen class in the image."""
        wanted = self._wanted = index, label = self.index, self.label
        self.offered = "Looking for the evidence…"
        self._lay()

        def find() -> Proposal:
            return find_proposal(self.run.model, self.train.image(index), label, self.run.pixels)

        found = await self.workspace.compute(find)
        if wanted is not self._wanted:  # a person has gone on, or refused it before it was there
            return
        self.proposal, self.shrunk, self._wanted = found if found.mask().any() else None, 0, None
        kind = self.data.classes[label]
        self.offered = (
            f"Proposed: where the network reads {kind}." if self.proposal else f"No evidence for {kind} here."
        )
        self._lay()

    def _lay(self) -> None:
        """Show marks and proposal over the image, and say how things stand."""
        every = np.logical_or.reduce(list(self.marks.values())) if self.marks else None
        proposed = None if self.proposal is None else self.proposal.mask(self.shrunk)
        self.canvas.lay(overlay(every, MARKED), overlay(proposed, PROPOSED))
        write(self.offer, self.offered)
        drawn = ", ".join(f"{label}: {int(mask.sum()):,} pixels" for label, mask in self.marks.items())
        name = self.name(self.index)
        said = f"Image {self.at + 1} of {len(self.order)}, {self._named(self._true(self.index))}: {name}. "
        write(self.said, said + (f"Marked and saved: {drawn}." if drawn else "Not marked yet."))
        self._tell()

    def _tell(self) -> None:
        """Say in the list which images are marked."""
        for index, cell in self._cells.items():
            if (marked := self.name(index) in self.marked) != (index in self._ticked):
                write(cell, "✓ marked" if marked else "")
                self._ticked ^= {index}
        known = len(self.marked)
        more = f"; about {_ENOUGH} make a proof that tells much" if known < _ENOUGH else ""
        write(self.count, f"{known:,} images are marked{more}.")

    async def _more(self) -> None:
        """List more images; those that are there stay in their place."""
        known = set(self.order)
        self.order += [index for index in await self.workspace.work(self._worth) if index not in known]
        self._list()
        self._tell()

    def _list(self) -> None:
        """Put the images worth marking as a grid to choose from, those that are not there yet."""
        small = "cell small" if max(self.run.pixels.size) <= 96 else "cell"
        with self.cells:
            for place, index in list(enumerate(self.order))[len(self._cells) :]:

                async def open_it(place: int = place) -> None:
                    await self._show(place)
                    self.canvas.run_method("bring")

                with put(html.li), press("", open_it, small, title=self.name(index)):
                    put(html.img, src=image_address("train", index), alt="", loading="lazy", width=160, height=160)
                    put(html.span, self._named(self._true(index)))
                    self._cells[index] = put(html.div)

    def _import(self) -> None:
        """Put a line for the name of a file of marks."""
        with put(html.section, aria_labelledby="import"):
            put(html.h2, "Marks from elsewhere", id="import")
            put(
                html.p,
                "A file or folder in any format that --marks reads, in the folder of the run or of the images. Its "
                "marks join those here.",
                "note",
            )
            with put(html.div, classes="controls"):
                text_field("File or folder", "", self._bring_in)
            self.brought = put(html.p, role="status")

    async def _bring_in(self, name: str) -> None:
        if not name.strip():
            return
        folders = [self.workspace.folder, self.workspace.path, *filter(None, [self.train.folder])]

        def read() -> tuple[Path, int, int]:
            path = within(folders, name)
            marks = import_marks(path, self.data)
            return path, len(marks), self.store.add_marks(marks)

        async with self._turn:
            path, found, fresh = await self.workspace.work(read)
            write(self.brought, f"{path.name}: {found:,} marks read, {fresh:,} of them new.")
            await self._read()
        self._lay()

    async def _read(self) -> None:
        """Read the file of marks, which others may have written too."""
        self._seen = self._changed()
        self.marked = await self.workspace.work(self.store.marked)
        index = self.index
        found = await self.workspace.work(self.store.masks, self.name(index))
        if index == self.index:
            self.marks = found

    def _changed(self) -> float | None:
        try:
            return self.store.path.stat().st_mtime
        except OSError:
            return None

    async def _follow(self) -> None:
        """Show what others wrote; while this page writes, what has changed is its own."""
        if self._turn.locked() or self._changed() == self._seen:
            return
        async with self._turn:
            try:
                await self._read()
            except ValueError as error:
                write(self.done, str(error))
                return
        write(self.done, "Marks were added elsewhere.")
        self._lay()

    async def _write_marks(self, index: int, act: Callable[[], str]) -> None:
        """Write marks of an image, show them, and say what was done; calls take turns, in the order of the strokes."""
        async with self._turn:
            done = await self.workspace.work(act)
            await self._read()
        write(self.done, done if index == self.index else f"{done} It is on image {self.name(index)}.")
        self._lay()

    async def _draw(self, index: int, stroke: Stroke) -> None:
        """Save a stroke on the image that it was drawn on, which may be the one before that which comes now."""
        if index not in self._cells:
            raise ValueError(f"image {index} is not among those to mark")
        name, label = self.name(index), self.data.classes[self.label if index == self.index else self._true(index)[0]]

        def act() -> str:
            self.store.add(name, label, stroke)
            return f"{stroke.tool.capitalize()} saved as {label}."

        await self._write_marks(index, act)

    async def _undo(self) -> None:
        name = self.name(self.index)

        def act() -> str:
            taken = self.store.undo(name)
            return f"Taken back: {taken}." if taken else "Nothing of yours is left to take back here."

        await self._write_marks(self.index, act)

    async def _redo(self) -> None:
        name = self.name(self.index)

        def act() -> str:
            taken = self.store.redo(name)
            return f"Put back: {taken}." if taken else "Nothing was taken back here since the last stroke."

        await self._write_marks(self.index, act)

    async def _accept(self) -> None:
        if self.proposal is None:
            write(self.done, "Nothing is proposed.")
            return
        index, name, label = self.index, self.name(self.index), self.data.classes[self.label]
        accepted, mask, before = self.proposal, self.proposal.mask(self.shrunk), self.offered
        self.proposal, self.offered = None, "Nothing is proposed."  # so that a second press adds no second mark

        def act() -> str:
            self.store.add_mask(name, label, mask)
            return f"The proposal is a mark of {label} now."

        try:
            await self._write_marks(index, act)
        except (ValueError, OSError):
            if index == self.index:
                self.proposal, self.offered = accepted, before
            raise

    async def _shrink(self) -> None:
        if self.proposal is None or self.shrunk + 1 >= len(LEVELS):
            write(self.done, "It cannot be shrunk further." if self.proposal else "Nothing is proposed.")
            return
        self.shrunk += 1
        self.offered = f"Proposed: evidence above {LEVELS[self.shrunk]:.0%} of its largest value."
        self._lay()

    async def _refuse(self) -> None:
        self.proposal, self._wanted, self.offered = None, None, "Nothing is proposed."
        write(self.done, "The proposal is refused: draw the object yourself.")
        self._lay()

    async def _choose(self, value: str) -> None:
        self.label, self.proposal = int(value), None
        await self._propose()

    def _to(self, step: int) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await self._show(self.at + step)

        return act

    def _true(self, index: int) -> list[int]:
        target = self.train.targets[index]
        return [int(target)] if target.ndim == 0 else (target > 0.5).nonzero().flatten().tolist() or [0]

    def _named(self, labels: list[int]) -> str:
        return ", ".join(self.data.classes[label] for label in labels)


_ADVICE = (
    "Classes take turns, and so do groups of suspects where they are known: what cures is the variety of the marked "
    "objects. Mark the object itself, not what the network reads; a box is enough."
)
