"""The Mark page's parts: the image, its proposal, the images worth marking, and marks from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nicegui import html, ui
from nicegui.element import Element

from looksharp.data.mark_names import held_name, mark_sizes
from looksharp.images.headers import ImageSizes
from looksharp.marks.union import Mask
from looksharp.studio.canvas import MARKED, PROPOSED, MarkCanvas, overlay
from looksharp.studio.controls import press, select, text_field
from looksharp.studio.importing import import_marks, within
from looksharp.studio.layout import put
from looksharp.studio.mark_store import MarkStore
from looksharp.studio.proposals import LEVELS, Proposal, find_proposal
from looksharp.studio.routes import image_address
from looksharp.studio.strokes import Stroke
from looksharp.studio.ticked import groups_file
from looksharp.studio.worth import worth_marking

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.studio.workspace import Workspace
    from looksharp.training.folder import Run

__all__ = ["Marking", "mark_store"]

_COUNT = 60  # images that are listed as worth marking, and as many more when asked for
_EVERY = 2.0  # seconds between two looks at what others wrote
_ENOUGH = 60  # marked images, by which a proof tells a remainder of five points from none


def mark_store(workspace: Workspace, data: Data) -> MarkStore:
    """Return the marks of a run's images: of all splits in the folder of the training images."""
    train = data.splits["train"]
    sizes = mark_sizes(train)
    if train.folder is not None:
        names = [name for split in data.splits.values() if split.folder == train.folder for name in split.names]
        sizes = ImageSizes(train.folder, names)
    return MarkStore(workspace.folder / "marks.json", sizes, data.classes)


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
        self.store = mark_store(workspace, data)
        self.order: list[int] = []
        self.at, self.label, self.shrunk = 0, 0, 0
        self.proposal: Proposal | None = None
        self.marks: dict[str, Mask] = {}
        self.marked: set[str] = set()
        self._seen: float | None = None  # time of change of the marks' file when it was read last
        self._cells: dict[int, Element] = {}

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
            with put(html.div, classes="controls", role="group", aria_label="Image"):
                press("Previous", self._to(-1), data_key="p", title="Previous image (p)")
                press("Next", self._to(1), data_key="n", title="Next image (n)")
                press("Undo", self._undo, data_key="u", title="Take back the last stroke (u)")
                self.classes = put(html.div)
            with put(html.div, classes="controls", role="group", aria_label="Proposal"):
                self.offer = put(html.p, classes="note", role="status")
                press("Accept", self._accept, data_key="a", title="Keep the proposal as a mark (a)")
                press("Shrink", self._shrink, data_key="s", title="Shrink the proposal (s)")
                press("Refuse", self._refuse, data_key="r", title="Refuse the proposal (r)")
            self.canvas = MarkCanvas(self._draw, self._undo)
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
        self.at, self.proposal, self.shrunk = at % len(self.order), None, 0
        index = self.index
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
        found = await self.workspace.work(self.store.masks, name)
        if index == self.index:
            self.marks = found
            self._lay("Looking for the evidence…")
            await self._propose(index)

    async def _propose(self, index: int) -> None:
        label = self.label

        def find() -> Proposal:
            return find_proposal(self.run.model, self.train.image(index), label, self.run.pixels)

        found = await self.workspace.compute(find)
        if (index, label) != (self.index, self.label):  # a person has gone on
            return
        self.proposal, self.shrunk = found if found.mask().any() else None, 0
        kind = self.data.classes[label]
        self._lay(f"Proposed: where the network reads {kind}." if self.proposal else f"No evidence for {kind} here.")

    def _lay(self, offer: str) -> None:
        """Show marks and proposal over the image, and say how things stand."""
        every = np.logical_or.reduce(list(self.marks.values())) if self.marks else None
        proposed = None if self.proposal is None else self.proposal.mask(self.shrunk)
        self.canvas.lay(overlay(every, MARKED), overlay(proposed, PROPOSED))
        _write(self.offer, offer)
        drawn = ", ".join(f"{label}: {int(mask.sum()):,} pixels" for label, mask in self.marks.items())
        name = self.name(self.index)
        said = f"Image {self.at + 1} of {len(self.order)}, {self._named(self._true(self.index))}: {name}. "
        _write(self.said, said + (f"Marked and saved: {drawn}." if drawn else "Not marked yet."))
        self._tell()

    def _tell(self) -> None:
        """Say in the list which images are marked."""
        for index, cell in self._cells.items():
            state = "✓ marked" if self.name(index) in self.marked else ""
            cell.clear()
            with cell:
                put(html.span, state)
        known = len(self.marked)
        more = f"; about {_ENOUGH} make a proof that tells much" if known < _ENOUGH else ""
        _write(self.count, f"{known:,} images are marked{more}.")

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

        path, found, fresh = await self.workspace.work(read)
        _write(self.brought, f"{path.name}: {found:,} marks read, {fresh:,} of them new.")
        await self._read()
        self._lay("")

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
        if self._changed() == self._seen:
            return
        try:
            await self._read()
            self._lay("Marks were added elsewhere.")
        except ValueError as error:
            _write(self.said, str(error))

    async def _after(self, offer: str) -> None:
        await self._read()
        self._lay(offer)

    async def _draw(self, index: int, stroke: Stroke) -> None:
        """Save a stroke on the image that it was drawn on, which may be the one before that which comes now."""
        if index not in self._cells:
            raise ValueError(f"image {index} is not among those to mark")
        label = self.data.classes[self.label if index == self.index else self._true(index)[0]]
        await self.workspace.work(self.store.add, self.name(index), label, stroke)
        await self._after(f"{stroke.tool.capitalize()} saved as {label}.")

    async def _undo(self) -> None:
        taken = await self.workspace.work(self.store.undo, self.name(self.index))
        await self._after(f"Taken back: {taken}." if taken else "Nothing of yours is left to take back here.")

    async def _accept(self) -> None:
        if self.proposal is None:
            _write(self.offer, "Nothing is proposed.")
            return
        label, mask = self.data.classes[self.label], self.proposal.mask(self.shrunk)
        await self.workspace.work(self.store.add_mask, self.name(self.index), label, mask)
        self.proposal = None
        await self._after(f"The proposal is a mark of {label} now.")

    async def _shrink(self) -> None:
        if self.proposal is None or self.shrunk + 1 >= len(LEVELS):
            _write(self.offer, "It cannot be shrunk further." if self.proposal else "Nothing is proposed.")
            return
        self.shrunk += 1
        self._lay(f"Proposed: evidence above {LEVELS[self.shrunk]:.0%} of its largest value.")

    async def _refuse(self) -> None:
        self.proposal = None
        self._lay("The proposal is refused: draw the object yourself.")

    async def _choose(self, value: str) -> None:
        self.label, self.proposal = int(value), None
        self._lay("Looking for the evidence…")
        await self._propose(self.index)

    def _to(self, step: int) -> Callable[[], Awaitable[None]]:
        async def act() -> None:
            await self._show(self.at + step)

        return act

    def _true(self, index: int) -> list[int]:
        target = self.train.targets[index]
        return [int(target)] if target.ndim == 0 else (target > 0.5).nonzero().flatten().tolist() or [0]

    def _named(self, labels: list[int]) -> str:
        return ", ".join(self.data.classes[label] for label in labels)


def _write(element: Element, text: str) -> None:
    """Write a text in place of what an element holds."""
    element.clear()
    with element:
        put(html.span, text)


_ADVICE = (
    "Classes take turns, and so do groups of suspects where they are known: what cures is the variety of the marked "
    "objects. Mark the object itself, not what the network reads; a box is enough."
)
