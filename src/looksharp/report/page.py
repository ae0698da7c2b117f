"""The report: one self-contained HTML page to look at, and the numbers behind it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from looksharp.files import write_text
from looksharp.report.charts import bars, curves, run_colors
from looksharp.report.overlay import common_scale, draw_panel, picture
from looksharp.report.parts import Chart, Picture, draw_chart, embed, environment, gradient, plain, shrink
from looksharp.report.results import Results, Sample
from looksharp.report.tables import ATTENTION, MAIN, metric_table, metrics_of, splits_of
from looksharp.report.wording import Metric, curve_title, duration, find_metric, in_words

__all__ = ["write_report", "write_results"]

_Points = tuple[Sequence[float], Sequence[float]]


def write_results(path: Path, results: Results) -> None:
    """Write the numbers as JSON, whole or not at all; what is not finite becomes null."""
    text = json.dumps(plain(asdict(results)), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_report(path: Path, results: Results, samples: Sequence[Sample]) -> None:
    """Write one HTML file that holds all it shows, whole or not at all.

    It asks nothing of a network and runs no script. Colours of the two maps of one run in one sample are on one
    scale; those of different runs are not, because their raw maps have no common unit.

    Raises:
        ValueError: if a sample has a run that `results` lacks, or an image that cannot be drawn (see `overlay`).
    """
    names = [run.name for run in results.runs]
    for number, sample in enumerate(samples):
        unknown = sorted(set(sample.panels) - set(names))
        if unknown:
            raise ValueError(f"samples[{number}].panels must be of the runs {names}; got {unknown}")
    present = metrics_of(results)
    main = next((name for name in MAIN if name in present), None)
    light, dark = run_colors(names), run_colors(names, dark=True)
    shown = [_shown_sample(sample, names) for sample in samples]
    page = (
        environment()
        .get_template("page.html.jinja")
        .render(
            results=results,
            colors={name: (light[name], dark[name]) for name in names},
            accuracy=metric_table(results, main) if main else None,
            chance=in_words(results.chance, True),
            accuracy_chart=_accuracy_chart(results, main) if main else None,
            attention=[metric_table(results, name) for name in ATTENTION if name in present],
            others=[metric_table(results, name) for name in present if name not in (*ATTENTION, main)],
            samples=shown,
            scales={signed: gradient(signed) for signed in sorted({s.signed for s in shown})},
            curves=_curve_charts(results),
            total=duration(sum(run.seconds for run in results.runs)),
            duration=duration,
        )
    )
    write_text(path, page)


@dataclass(frozen=True)
class _ShownSample:
    title: str
    image: Picture
    runs: dict[str, list[Picture]]  # empty where a run has none
    signed: bool


def _shown_sample(sample: Sample, names: Sequence[str]) -> _ShownSample:
    image = shrink(sample.image)
    outline = sample.outline
    runs, signs = {}, []
    for name in names:
        panels = sample.panels.get(name, ())
        peak, signed = common_scale(panels)
        signs.append(signed)
        pictures = []
        for panel, kind in zip(panels, ("the true class", "the most confusing class"), strict=False):
            what = f"where {name} looks for {kind}, {panel.title}"
            alt = f"{sample.title}: {what}" + (f" ({panel.remark})" if panel.remark else "")
            pictures.append(embed(draw_panel(image, panel, peak, signed), outline, alt, panel))
        runs[name] = pictures
    alt = f"{sample.title}: the image" + ("" if outline is None else ", its object outlined in white")
    return _ShownSample(sample.title, embed(picture(image), outline, alt), runs, any(signs))


def _accuracy_chart(results: Results, metric: str) -> Chart:
    label = find_metric(metric).label
    accuracies = {
        run.name: {split: run.splits.get(split, {}).get(metric, math.nan) for split in splits_of(results)}
        for run in results.runs
    }
    alt = f"Bars: {label} of each training on each split. The table beside it holds the same numbers."
    return draw_chart(label, alt, lambda dark: bars(accuracies, chance=results.chance, dark=dark))


def _curve_charts(results: Results) -> list[Chart]:
    names = list(dict.fromkeys(name for run in results.runs for name in run.curves if name != "epoch"))
    charts = []
    for name in names:
        series = {run.name: _points(run.curves, name) for run in results.runs if run.curves.get(name)}
        if not series:
            continue
        title, metric = curve_title(name)
        ends = ", ".join(f"{run} {in_words(y[-1], metric.percent)}" for run, (_, y) in series.items())
        alt = f"Lines over the epochs: {title}. At the end: {ends}."
        charts.append(draw_chart(title, alt, partial(_curve_chart, results, series, metric)))
    return charts


def _curve_chart(results: Results, series: Mapping[str, _Points], metric: Metric, dark: bool) -> bytes:
    colors = run_colors((run.name for run in results.runs), dark=dark)
    return curves(series, ylabel=metric.label, percent=metric.percent, colors=colors, dark=dark)


def _points(values: Mapping[str, Sequence[float]], name: str) -> _Points:
    y = values[name]
    return values.get("epoch", list(range(1, len(y) + 1))), y
