"""Write the page of a ranking, self-contained, and its tables as files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from looksharp.attention.maps import normalize_maps
from looksharp.drawing.overlay import draw_panel, picture
from looksharp.drawing.panel import Panel
from looksharp.drawing.parts import Picture, embed, environment, gradient, plain, shrink
from looksharp.files import write_text
from looksharp.ruler.results import Example, Ranking
from looksharp.ruler.tables import csv_text, facts_of, score_metrics, score_rows

__all__ = ["write_ranking"]


def write_ranking(out: Path, ranking: Ranking) -> Path:
    """Write OUT/index.html, which holds all it shows, OUT/mechanisms.json and OUT/mechanisms.csv.

    Returns:
        The page's path.
    """
    write_text(out / "mechanisms.json", json.dumps(plain(facts_of(ranking)), indent=2, ensure_ascii=False) + "\n")
    write_text(out / "mechanisms.csv", csv_text(ranking))
    page = (
        environment()
        .get_template("ruler/page.html.jinja")
        .render(
            ranking=ranking,
            metrics=score_metrics(ranking.standings),
            rows=score_rows(ranking),
            examples=[_show(example) for example in ranking.examples],
            outlined=any(example.cue is not None for example in ranking.examples),
            scale=gradient(False),
        )
    )
    write_text(out / "index.html", page)
    return out / "index.html"


@dataclass(frozen=True)
class _Shown:
    title: str
    image: Picture
    maps: list[Picture]


def _show(example: Example) -> _Shown:
    """Draw each map by its own maximum: mechanisms have no unit in common."""
    image, cue = shrink(example.image), example.cue
    alt = f"the image, {example.title}" + ("" if cue is None else ", its cue outlined in white")
    maps = []
    for name, found in example.maps.items():
        panel = Panel(name, normalize_maps(found.relu()))
        drawn = draw_panel(image, panel, 1.0, False)
        maps.append(embed(drawn, cue, f"{name}, {example.title}" + (f" ({panel.remark})" * bool(panel.remark)), panel))
    return _Shown(example.title, embed(picture(image), cue, alt), maps)
