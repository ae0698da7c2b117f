"""The Retrain page's parts: the choice of method with its advice, and the queue of trainings with their curves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from nicegui import html, ui

from looksharp.studio.controls import checkbox, press, text_field
from looksharp.studio.cure_jobs import CureChoice, planned, progress_of
from looksharp.studio.estimates import epoch_seconds, estimated, timed_epoch
from looksharp.studio.jobs import Job, Jobs
from looksharp.studio.layout import put, write
from looksharp.studio.methods import METHODS, advised
from looksharp.studio.run_marks import marked_for_training, run_marks
from looksharp.studio.ticked import Ticked, groups_file, read_ticked
from looksharp.studio.training_card import TrainingCard
from looksharp.studio.training_charts import rough, training_charts

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.studio.workspace import Workspace
    from looksharp.training.folder import Run

__all__ = ["Retraining"]

_EVERY = 2.0  # seconds between two looks at the jobs


class Retraining:
    """One visitor's view of the trainings.

    Args:
        workspace: the opened run.
        data: its images.
        run: the run.
    """

    def __init__(self, workspace: Workspace, data: Data, run: Run) -> None:
        self.workspace, self.data, self.run = workspace, data, run
        self.jobs = Jobs(workspace.folder / "jobs")
        self.store = run_marks(workspace, data)
        self.marked, self.ticked = 0, Ticked()
        self.method, self.epochs, self.compare = "", run.config.training.epochs, False
        self.epoch, self.timed = epoch_seconds(run.history), False
        self._turn = asyncio.Lock()
        self._shown: dict[int, tuple[object, ...]] = {}
        self._cards: dict[int, TrainingCard] = {}

    async def build(self) -> None:
        """Put all of it on the page."""
        await self._count()
        self.method = advised(self.marked, len(self.ticked))
        with put(html.section, aria_labelledby="choice"):
            put(html.h2, "A new training", id="choice")
            self._draw_choice()
        with put(html.section, aria_labelledby="queue"):
            put(html.h2, "Trainings", id="queue")
            put(
                html.p,
                "Each training runs in a process of its own, one after the other. It goes on when this page is closed "
                "or the studio ends.",
                "note",
            )
            self.queue = put(html.div, classes="stack")
            self.none = put(html.p, "There is none yet.")
        await self._follow()
        ui.timer(_EVERY, self._follow)
        if self.epoch is None:
            self.epoch, self.timed = await self.workspace.compute(timed_epoch, self.run, self.data), True
            self._weigh()

    async def _count(self) -> None:
        self.marked = await self.workspace.work(marked_for_training, self.store, self.data)
        groups = groups_file(self.workspace.folder, self.workspace.settings.cues)
        self.ticked = read_ticked(self.workspace.folder) if groups.is_file() else Ticked()

    def _lacking(self, method: str) -> str:
        """Return what a method needs that is not there; "" if it can be used."""
        reads = METHODS[method].reads
        if "marks" in reads and self.marked < 2:
            return (
                f"needs at least 2 marked training images; {self.marked} {'is' if self.marked == 1 else 'are'} marked"
            )
        if "ticks" in reads and not len(self.ticked):
            return "needs a group that is ticked as a shortcut or as the object"
        return ""

    def _draw_choice(self) -> None:
        ticks = f"{len(self.ticked.shortcut)} groups ticked as a shortcut, {len(self.ticked.object)} as the object"
        put(html.p, f"There are {self.marked:,} marked training images, and {ticks}.", "summary")
        with put(html.fieldset, classes="methods"):
            put(html.legend, "Method")
            for name in METHODS:
                self._draw_method(name)
        with put(html.div, classes="controls"):
            text_field("Epochs", str(self.epochs), self._set_epochs)
            checkbox("Train on class labels alone too, for comparison", self.compare, self._set_compare)
        self.cost = put(html.p, role="status", classes="cost")
        self.start = press("Start training", self._start, "main")
        self._weigh()

    def _weigh(self) -> None:
        """Say what the chosen training costs, and whether it can start; what was pressed stays in place."""
        write(self.cost, self._cost())
        self.start.props.set_bool("disabled", not self.method or bool(self._lacking(self.method)))

    def _draw_method(self, name: str) -> None:
        method, lacking = METHODS[name], self._lacking(name)
        best = name == advised(self.marked, len(self.ticked))

        async def choose(_: object) -> None:
            self.method = name
            self._weigh()

        with put(html.div, classes="method"):
            made = put(
                html.input_,
                type="radio",
                name="method",
                id=f"method-{name}",
                value=name,
                checked=name == self.method,
                disabled=bool(lacking),
                aria_describedby=f"advice-{name}",
            )
            made.on("change", choose, args=[])
            put(html.label, method.title + (" (advised)" if best else ""), for_=f"method-{name}")
            put(html.p, method.advice + (f" It {lacking}." if lacking else ""), "note", id=f"advice-{name}")

    def _cost(self) -> str:
        if not self.method:
            return "Mark at least two images, or find groups and tick some; then a training can start."
        if self.epoch is None:
            return "A step is timed, to say how long it takes…"
        method, trainings = METHODS[self.method], 2 if self.compare else 1
        seconds = estimated(self.epoch, self._images(), self.epochs, method.cost, trainings, method.before)
        known = "a step takes here" if self.timed else "an epoch of this run took"
        return f"About {rough(seconds)}, by what {known} and by what the method adds."

    def _images(self) -> dict[str, int]:
        return {name: len(split) for name, split in self.data.splits.items()}

    async def _set_epochs(self, value: str) -> None:
        if not value.strip().isdecimal() or not 1 <= int(value) <= 100_000:
            raise ValueError(f"epochs must be a whole number from 1 to 100,000; got {value!r:.40}")
        self.epochs = int(value)
        self._weigh()

    async def _set_compare(self, value: bool) -> None:
        self.compare = value
        self._weigh()

    async def _start(self) -> None:
        await self._count()
        lacking = self._lacking(self.method)
        if lacking:
            raise ValueError(f"{METHODS[self.method].title} {lacking}")
        choice = CureChoice(self.method, self.epochs, self.compare, self.ticked)
        plan = planned(choice, self.workspace.settings, self.workspace.folder)
        title = f"{METHODS[self.method].title}, {self.epochs:,} epochs"
        await self.workspace.work(self.jobs.add, title, plan)
        await self._follow()

    async def _follow(self) -> None:
        """Show jobs as they are now; calls take turns, or an older state could be drawn over a newer one."""
        async with self._turn:
            await self._draw_jobs()

    async def _draw_jobs(self) -> None:
        """Draw the jobs that changed."""
        jobs = [job for job in await self.workspace.work(self.jobs.all) if job.arguments[:1] != ("suspects",)]
        self.none.set_visibility(not jobs)
        for job in jobs:
            found = await self.workspace.work(progress_of, job.folder)
            log = job.log
            now = (job.status, log, *(len(each.history) for each in found))
            if self._shown.get(job.number) == now:
                continue
            fresh = self._shown.get(job.number, ("",))[2:] != now[2:] or job.number not in self._cards
            self._shown[job.number] = now
            charts = await self.workspace.work(training_charts, found) if fresh else None
            self._card(job).show(job, found, log, charts)

    def _card(self, job: Job) -> TrainingCard:
        """Return the card of a job; a new one comes first."""
        number = job.number
        if number not in self._cards:
            with self.queue:
                acts = self._acting(self.jobs.cancel, number), self._acting(self.jobs.resume, number)
                self._cards[number] = TrainingCard(job, *acts)
            self._cards[number].element.move(target_index=0)
        return self._cards[number]

    def _acting(self, act: Callable[[int], None], number: int) -> Callable[[], Awaitable[None]]:
        async def acted() -> None:
            await self.workspace.work(act, number)
            await self._follow()

        return acted
