"""The report: one self-contained HTML page to look at, and the numbers behind it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from looksharp.files import write_text
from looksharp.report.charts import bars, curves, run_colors
from looksharp.report.overlay import common_scale, draw_outline, draw_panel, picture, scale_colors
from looksharp.report.panel import Panel
from looksharp.report.results import Results, Sample
from looksharp.report.tables import metric_table, metrics_of, splits_of
from looksharp.report.wording import curve_title, duration, find_metric, in_words

__all__ = ["write_report", "write_results"]

_MAIN = ("top1", "map")  # the first of these that is there has the big table
_ATTENTION = (
    "attention_inside",
    "no_attention",
    "overlap_last",
    "overlap_inner",
    "separation_last",
    "separation_inner",
    "consistency",
)
_LARGEST = 256  # pixels a side of a picture on the page


def write_results(path: Path, results: Results) -> None:
    """Write the numbers as JSON, whole or not at all; what is not finite becomes null."""
    text = json.dumps(_plain(asdict(results)), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_report(path: Path, results: Results, samples: Sequence[Sample]) -> None:
    """Write one HTML file that holds all it shows, whole or not at all.

    It asks nothing of a network and runs no script. Colours of the two maps of one run in one sample are on one
    scale; those of different runs are not, because their raw maps have no common unit.

    Raises:
        ValueError: if a sample has a run that `results` lacks, or an image that cannot be drawn (see `overlay`).
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    names = [run.name for run in results.runs]
    for number, sample in enumerate(samples):
        unknown = sorted(set(sample.panels) - set(names))
        if unknown:
            raise ValueError(f"samples[{number}].panels must be of the runs {names}; got {unknown}")
    present = metrics_of(results)
    main = next((name for name in _MAIN if name in present), None)
    light, dark = run_colors(names), run_colors(names, dark=True)
    shown = [_shown_sample(sample, names) for sample in samples]
    environment = Environment(
        loader=PackageLoader("looksharp.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        results=results,
        colors={name: (light[name], dark[name]) for name in names},
        accuracy=metric_table(results, main) if main else None,
        chance=in_words(results.chance, True),
        accuracy_chart=_accuracy_chart(results, main) if main else None,
        attention=[metric_table(results, name) for name in _ATTENTION if name in present],
        others=[metric_table(results, name) for name in present if name not in (*_ATTENTION, main)],
        samples=shown,
        scales={signed: _gradient(signed) for signed in sorted({s.signed for s in shown})},
        curves=_curve_charts(results),
        total=duration(sum(run.seconds for run in results.runs)),
        duration=duration,
    )
    write_text(path, page)


@dataclass(frozen=True)
class _Picture:
    source: str
    alt: str
    width: int
    height: int
    panel: Panel | None = None


@dataclass(frozen=True)
class _Chart:
    title: str
    light: str
    dark: str
    alt: str


@dataclass(frozen=True)
class _ShownSample:
    title: str
    image: _Picture
    runs: dict[str, list[_Picture]]  # empty where a run has none
    signed: bool


def _shown_sample(sample: Sample, names: Sequence[str]) -> _ShownSample:
    image = _shrink(sample.image)
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
            pictures.append(_embed(draw_panel(image, panel, peak, signed), outline, alt, panel))
        runs[name] = pictures
    alt = f"{sample.title}: the image" + ("" if outline is None else ", its object outlined in white")
    return _ShownSample(sample.title, _embed(picture(image), outline, alt), runs, any(signs))


def _shrink(image: Tensor) -> Tensor:
    """An image (3, H, W) no larger than the page shows."""
    largest = max(image.shape[-2:])
    if largest <= _LARGEST or image.ndim != 3 or not image.is_floating_point():
        return image
    size = [max(round(side * _LARGEST / largest), 1) for side in image.shape[1:]]
    return F.interpolate(image.detach().cpu().float()[None], size, mode="bilinear", antialias=True)[0]


def _embed(pixels: npt.NDArray[np.uint8], outline: Tensor | None, alt: str, panel: Panel | None = None) -> _Picture:
    from PIL import Image

    if outline is not None:
        pixels = draw_outline(pixels, outline)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=90, method=6)
    return _Picture(_data_uri(buffer.getvalue(), "image/webp"), alt, pixels.shape[1], pixels.shape[0], panel)


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _gradient(signed: bool) -> str:
    """A scale as a CSS gradient."""
    colors = (scale_colors(signed, 17) * 255).round().astype(int)
    return "linear-gradient(to right, " + ", ".join("rgb({} {} {})".format(*c) for c in colors) + ")"


def _accuracy_chart(results: Results, metric: str) -> _Chart:
    label = find_metric(metric).label
    accuracies = {
        run.name: {split: run.splits.get(split, {}).get(metric, math.nan) for split in splits_of(results)}
        for run in results.runs
    }
    light, dark = (_data_uri(bars(accuracies, chance=results.chance, dark=d), "image/svg+xml") for d in (False, True))
    alt = f"Bars: {label} of each training on each split. The table beside it holds the same numbers."
    return _Chart(label, light, dark, alt)


def _curve_charts(results: Results) -> list[_Chart]:
    names = list(dict.fromkeys(name for run in results.runs for name in run.curves if name != "epoch"))
    charts = []
    for name in names:
        series = {run.name: _points(run.curves, name) for run in results.runs if run.curves.get(name)}
        if not series:
            continue
        title, metric = curve_title(name)
        light, dark = (
            _data_uri(
                curves(
                    series,
                    ylabel=metric.label,
                    percent=metric.percent,
                    colors=run_colors((run.name for run in results.runs), dark=d),
                    dark=d,
                ),
                "image/svg+xml",
            )
            for d in (False, True)
        )
        ends = ", ".join(f"{run} {in_words(y[-1], metric.percent)}" for run, (_, y) in series.items())
        charts.append(_Chart(title, light, dark, f"Lines over the epochs: {title}. At the end: {ends}."))
    return charts


def _points(values: Mapping[str, Sequence[float]], name: str) -> tuple[Sequence[float], Sequence[float]]:
    y = values[name]
    return values.get("epoch", list(range(1, len(y) + 1))), y


def _plain(value: Any) -> Any:
    """The same with what is not finite as None, and numbers of other kinds (numpy, torch) as float."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
