"""Loss and validation curves of a job's trainings, and how it stands in words."""

from __future__ import annotations

from collections.abc import Sequence

from looksharp.drawing.charts import curves
from looksharp.drawing.parts import Chart, draw_chart
from looksharp.drawing.wording import duration, in_words
from looksharp.metrics.catalogue import curve_title
from looksharp.studio.cure_jobs import TrainingProgress
from looksharp.studio.estimates import remaining
from looksharp.studio.jobs import Job

__all__ = ["rough", "state_of", "training_charts"]

Series = dict[str, tuple[list[float], list[float]]]
_STATES = {
    "waiting": "Waits for its turn",
    "running": "Runs",
    "finished": "Finished",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "interrupted": "Interrupted: its process was killed",
}


def training_charts(found: Sequence[TrainingProgress]) -> list[Chart]:
    """Draw loss and validation score of trainings over epochs; nothing before the first one."""
    columns = dict.fromkeys(name for each in found for row in each.history for name in row)
    losses: list[str] = [name for name in ("train_loss", "val_loss") if name in columns]
    scores = [name for name in columns if name.startswith("val_") and name != "val_loss"][:1]
    shown = {"Loss": losses, "Validation": scores}
    return [_chart(title, names, _series(found, names)) for title, names in shown.items() if names]


def state_of(job: Job, found: Sequence[TrainingProgress]) -> str:
    """Return how a job stands, in a sentence."""
    said = _STATES[job.status]
    if job.status == "running":
        return f"{said}: {_doing(found, 2 if '--compare' in job.arguments else 1)}"
    if job.status == "failed":
        last = next((line for line in reversed(job.log.splitlines()) if line.strip()), "")
        return f"{said}: {last.removeprefix('looksharp: ').removeprefix('error: '):.400}"
    if job.status == "finished" and job.started and job.ended:
        return f"{said} in {duration(job.ended - job.started)}."
    return f"{said}."


def rough(seconds: float) -> str:
    """Return a time in words, as roughly as an estimate is known.

    Example:
        >>> rough(42), rough(260), rough(8000)
        ('40 seconds', '4 minutes', '2.2 hours')

    """
    if seconds < 90:
        return f"{max(round(seconds, -1), 10):.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _doing(found: Sequence[TrainingProgress], trainings: int) -> str:
    """Return what a job does now, and how long its trainings still take by their epochs so far."""
    if not found:
        return "the images and the network are being read and measured."
    now = next((each for each in found if len(each.history) < each.epochs), found[0])
    if not now.history:
        return "the first epoch is under way."
    left = remaining(now.history, now.epochs + max(trainings - len(found), 0) * now.epochs)
    return f"about {rough(left)} of training are left, and then it is measured." if left else "it is being measured."


def _series(found: Sequence[TrainingProgress], columns: Sequence[str]) -> Series:
    """Return name -> (epochs, values) of each training and column."""
    several = sum(bool(each.history) for each in found) > 1
    series: Series = {}
    for each in found:
        for column in columns:
            rows = [row for row in each.history if column in row]
            where = "training" if column.startswith("train_") else "validation"
            if rows:
                name = f"{each.name}, {where}" if several else where
                series[name] = ([row["epoch"] + 1 for row in rows], [row[column] for row in rows])
    return series


def _chart(title: str, names: Sequence[str], series: Series) -> Chart:
    label, metric = curve_title(names[0])
    ends = [f"{name} {in_words(y[-1], metric.percent)} after epoch {x[-1]:.0f}" for name, (x, y) in series.items()]
    ylabel = metric.label if len(names) > 1 else label

    def draw(dark: bool) -> bytes:
        return curves(series, ylabel=ylabel, percent=metric.percent, dark=dark)

    return draw_chart(title, f"{title} over epochs: {'; '.join(ends)}", draw)
