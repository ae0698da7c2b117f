"""Find groups: read those that there are, or search for them by a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import html, ui

from looksharp.studio.cards import Cards
from looksharp.studio.controls import press
from looksharp.studio.jobs import Job, Jobs
from looksharp.studio.layout import put, said, write
from looksharp.studio.ticked import groups_file
from looksharp.studio.workspace import Workspace

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.suspects.groups import Groups
    from looksharp.training.folder import Run

__all__ = ["Finding"]

_SAID = 2000  # letters of what a search says
TITLE = "Find groups"
_WANTED = 32  # images to mark, of which the groups are twice the classes at most


class Finding:
    """The groups, or the search for them.

    Args:
        workspace: the opened run.
        data: its images.
        run: its network.
    """

    def __init__(self, workspace: Workspace, data: Data, run: Run) -> None:
        self.workspace, self.data, self.run = workspace, data, run
        self.path = groups_file(workspace.folder, workspace.settings.cues)
        self.jobs = Jobs(workspace.folder / "jobs")
        self.job: Job | None = None  # the search that runs

    async def build(self) -> None:
        """Put it on the page."""
        self.place = put(html.div)
        await self._draw()
        ui.timer(1.0, self._follow)

    async def _follow(self) -> None:
        """Show what a search says, and the groups once it has ended."""
        if self.job is None:
            return
        self.job = self.jobs[self.job.number]
        if self.job.is_open:
            self._tell(self.job)
        else:
            self.job = None
            await self._draw()

    async def _draw(self) -> None:
        self.place.clear()
        with self.place:
            job = self._last()
            if job is not None and job.is_open:
                self._draw_job(job)
                return
            if not self.path.is_file():
                self._draw_search("No groups have been searched for yet.", job)
                return
            try:
                groups = await self.workspace.work(self._read)
            except (ValueError, OSError) as error:
                put(html.p, said(error), "error", role="alert")
                self._draw_search("They have to be searched for again.", job)
                return
            await Cards(self.workspace, self.data, self.run, groups).build()

    def _read(self) -> Groups:
        from looksharp.suspects.groups import read_groups

        groups = read_groups(self.path)
        groups.check(self.run.model, self.data.splits["train"], self.run.pixels)
        return groups

    def _last(self) -> Job | None:
        """Return the last search of the studio."""
        return next((job for job in reversed(self.jobs.all()) if job.title == TITLE), None)

    def _draw_search(self, text: str, job: Job | None) -> None:
        count = len(self.data.splits["train"])
        put(html.p, f"{text} A search reads {count:,} training images; it costs about 12 forwards an image.")
        if job is not None and job.status != "finished":
            put(html.p, f"The last search was {job.status}.", "error")
            self._draw_log(job)

        async def search() -> None:
            await self.workspace.work(self.jobs.add, TITLE, lambda folder: self._command())
            await self._draw()

        press("Find groups", search, "main")

    def _command(self) -> list[str]:
        settings, count = self.workspace.settings, len(self.data.splits["train"])
        command = ["suspects", str(settings.run.absolute()), "-n", str(min(_WANTED, count))]
        command += ["--out", str(self.path.parent.absolute())]
        for name in ("data", "root", "class_map"):
            value = getattr(settings, name)
            command += [f"--{name}", str(value)] if value is not None else []
        return [*command, "--checkpoint", settings.checkpoint, "--device", settings.device]

    def _draw_job(self, job: Job) -> None:
        self.job = job
        put(html.p, "Searching: the page may be closed meanwhile.", role="status")
        self._draw_log(job)

        async def cancel() -> None:
            await self.workspace.work(self.jobs.cancel, job.number)

        press("Cancel", cancel)

    def _draw_log(self, job: Job) -> None:
        self.log = put(html.pre, classes="log", tabindex="0", role="region", aria_label="What the search says")
        self.told = ""
        self._tell(job)

    def _tell(self, job: Job) -> None:
        """Show what the search says, where it has said more: a text that is marked to be copied stays marked."""
        told = job.log[-_SAID:]
        if told != self.told:
            self.told = told
            write(self.log, told)
