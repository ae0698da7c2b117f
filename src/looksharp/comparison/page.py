"""Write the page of a comparison, self-contained, and its figures as files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from looksharp.comparison.charts import comparison_charts
from looksharp.comparison.results import Comparison, Gallery, Scene
from looksharp.comparison.tables import (
    cost_rows,
    entry_table,
    main_metric,
    metrics_of,
    summary_of,
)
from looksharp.drawing.charts import run_colors
from looksharp.drawing.figures import attention_grid
from looksharp.drawing.overlay import common_scale, draw_panel, picture
from looksharp.drawing.panel import Panel
from looksharp.drawing.parts import Chart, Picture, embed, environment, gradient, shrink
from looksharp.drawing.tables import Table
from looksharp.drawing.wording import in_words
from looksharp.files import replacing, write_text
from looksharp.metrics.catalogue import on_topic

__all__ = ["write_comparison"]

SECTIONS = {
    "score": "How well they classify",
    "changed": "What changed most",
    "attention": "Attention in numbers",
    "confused": "What they confuse",
    "separation": "How sure they are of the true class",
    "layers": "Layer by layer",
    "projection": "What they see as alike",
    "curves": "How training went",
    "cost": "What they cost",
    "best": "Attention at the epoch of the best validation score",
    "more": "More numbers",
    "made": "How this was made",
}
"""Heading of each section, by its anchor; a section without content is left out."""


def write_comparison(out: Path, comparison: Comparison, gallery: Gallery) -> Path:
    """Write OUT/report.html, which holds all it shows, and every chart and picture as a file in OUT/figures.

    Returns:
        The page's path.
    """
    charts = comparison_charts(comparison, gallery.projections)
    changes = [found for kinds in gallery.changed.values() for found in kinds.values()]
    scenes = [*chain.from_iterable(changes), *gallery.confused, *gallery.layers]
    _write_figures(out / "figures", charts, scenes)
    names = [method.name for method in comparison.methods]
    light, dark = run_colors(names), run_colors(names, dark=True)
    tables = _tables(comparison)
    content: dict[str, object] = {
        "score": tables["main"],
        "changed": any(changes),
        "attention": tables["attention"],
        "confused": comparison.confused_pairs,
        "separation": charts["separation"],
        "layers": gallery.layers,
        "projection": charts["projection"],
        "curves": charts["curve"],
        "cost": True,
        "best": tables["attention"].get("best"),
        "more": tables["others"],
        "made": True,
    }
    template = environment().get_template("comparison/page.html.jinja")
    page = template.render(
        title=f"{', '.join(names[1:])} against {names[0]}",
        sections={name: heading for name, heading in SECTIONS.items() if content[name]},
        comparison=comparison,
        colors={name: (light[name], dark[name]) for name in names},
        first=names[0],
        summary=summary_of(comparison),
        tables=tables,
        charts=charts,
        changed={
            method: {kind: [_show(scene) for scene in found] for kind, found in kinds.items()}
            for method, kinds in gallery.changed.items()
        },
        confused=[_show(scene) for scene in gallery.confused],
        layers=[_show(scene) for scene in gallery.layers],
        outlined=any(scene.outline is not None for scene in scenes),
        scale=gradient(False),
        costs=cost_rows(comparison.methods),
        pairs=comparison.confused_pairs,
        in_words=in_words,
    )
    write_text(out / "report.html", page)
    return out / "report.html"


def _write_figures(folder: Path, charts: Mapping[str, Mapping[str, Chart]], scenes: Sequence[Scene]) -> None:
    for name, chart in chain.from_iterable(kind.items() for kind in charts.values()):
        with replacing(folder / f"{_file_name(name)}.svg") as temporary:
            temporary.write_bytes(chart.on_light)
    for scene in scenes:
        rows = [(shrink(scene.image), panels) for panels in scene.rows.values()]
        titles = [f"{scene.title}: {method}" for method in scene.rows]
        path = folder / f"{_file_name(scene.name)}.png"
        attention_grid(rows, path, titles=titles, outlines=[scene.outline] * len(rows))


def _tables(comparison: Comparison) -> dict[str, dict[str, list[Table]]]:
    """Return the tables by kind ("main", "attention", "others") and checkpoint; a kind without metrics is empty."""
    main, present = main_metric(comparison), metrics_of(comparison)
    kinds = {"main": [main] if main else [], "attention": [name for name in on_topic("attention") if name in present]}
    kinds["others"] = [name for name in present if name != main and name not in on_topic("attention")]
    checkpoints = dict.fromkeys(entry.checkpoint for entry in comparison.entries)
    return {
        kind: {c: [entry_table(comparison, c, name) for name in metrics] for c in checkpoints if metrics}
        for kind, metrics in kinds.items()
    }


@dataclass(frozen=True)
class _ShownScene:
    title: str
    image: Picture
    rows: dict[str, list[Picture]]


def _show(scene: Scene) -> _ShownScene:
    image, outline = shrink(scene.image), scene.outline
    rows = {}
    for method, panels in scene.rows.items():
        peak, signed = common_scale(panels)
        rows[method] = [
            embed(draw_panel(image, panel, peak, signed), outline, _alt(scene, method, panel), panel)
            for panel in panels
        ]
    alt = f"{scene.title}: the image" + ("" if outline is None else ", its object outlined in white")
    return _ShownScene(scene.title, embed(picture(image), outline, alt), rows)


def _alt(scene: Scene, method: str, panel: Panel) -> str:
    remarks = ", ".join(filter(None, (panel.caption, panel.remark)))
    return f"{scene.title}: {method}, {panel.title}" + (f" ({remarks})" if remarks else "")


def _file_name(name: str) -> str:
    """Replace all but letters, digits, dots and underscores by dashes."""
    return re.sub(r"[^\w.]+", "-", name).strip("-")
