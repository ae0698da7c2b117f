"""A training as a card of the Retrain page. Only what changed is drawn anew: a button that is being pressed stays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from nicegui import html

from looksharp.drawing.parts import Chart
from looksharp.studio.controls import press
from looksharp.studio.cure_jobs import TrainingProgress
from looksharp.studio.jobs import Job
from looksharp.studio.layout import again, put, write
from looksharp.studio.training_charts import state_of

__all__ = ["TrainingCard"]

Act = Callable[[], Awaitable[None]]


class TrainingCard:
    """The card of a job.

    Args:
        job: the job, of which number and title are shown.
        cancel: ends it.
        resume: goes on with it.
    """

    def __init__(self, job: Job, cancel: Act, resume: Act) -> None:
        self._number, self._cancel, self._resume = job.number, cancel, resume
        self._status = self._log = ""
        self.element = put(html.article, classes="panel", aria_labelledby=f"job-{job.number}")
        with self.element:
            put(html.h3, f"{job.number}. {job.title}", id=f"job-{job.number}")
            self._state = put(html.p, role="status")
            self._progress = put(html.div)
            self._acts = put(html.div, classes="controls")
            self._charts = put(html.div, classes="cards")
            with put(html.details):
                put(html.summary, "What the command says")
                self._said = put(
                    html.pre, classes="log", tabindex="0", role="region", aria_label="Output of the command"
                )

    def show(self, job: Job, found: Sequence[TrainingProgress], log: str, charts: Sequence[Chart] | None) -> None:
        """Show how far it is.

        Args:
            job: the job as it is now.
            found: progress of its trainings.
            log: what its command says.
            charts: curves of the trainings; None where they have not changed.
        """
        write(self._state, state_of(job, found))
        again(self._progress, lambda: _draw_progress(found))
        if job.status != self._status:
            self._status = job.status
            again(self._acts, lambda: self._draw_acts(job))
        if charts is not None:
            again(self._charts, lambda: _draw_charts(charts))
        if log != self._log:
            self._log = log
            write(self._said, log)

    def _draw_acts(self, job: Job) -> None:
        if job.is_open:
            press("Cancel", self._cancel, aria_label=f"Cancel training {self._number}")
        elif job.status != "finished":
            press("Resume", self._resume, aria_label=f"Resume training {self._number}")
        else:
            put(html.a, "See the proof", href="/prove")


def _draw_progress(found: Sequence[TrainingProgress]) -> None:
    for each in found:
        text = f"{each.name}: {len(each.history):,} of {each.epochs:,} epochs"
        with put(html.p):
            put(html.progress, max=max(each.epochs, 1), value=len(each.history), aria_label=text)
            put(html.span, f" {text}")


def _draw_charts(charts: Sequence[Chart]) -> None:
    for chart in charts:
        with put(html.figure):
            put(html.figcaption, chart.title)
            with put(html.picture):
                put(html.source, media="screen and (prefers-color-scheme: dark)", srcset=chart.dark)
                put(html.img, classes="chart", src=chart.light, alt=chart.alt)
