"""Tables of a ranking: for the page, as CSV and as JSON values."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from io import StringIO
from typing import Any

from looksharp.drawing.tables import Cell
from looksharp.drawing.wording import in_words
from looksharp.metrics.catalogue import Metric, find_metric
from looksharp.ruler.ranking import DECIDES
from looksharp.ruler.results import Ranking, Score, Standing

__all__ = ["Row", "csv_text", "facts_of", "score_metrics", "score_rows"]

_FIRST = (DECIDES, "cue_chance", "cue_energy", "cue_covered")


@dataclass(frozen=True)
class Row:
    """One mechanism on the page: its cost, its time, what decides and a cell for each score."""

    standing: Standing
    rank: str
    rank_interval: str
    cost: str
    parts: str
    time: str
    cells: tuple[Cell, ...]


def score_metrics(standings: Sequence[Standing]) -> dict[str, Metric]:
    """Return the scores to show, those on the cue first; without empty maps where there are none."""
    names = list(dict.fromkeys([*_FIRST, *(name for each in standings for name in each.scores)]))
    known = [name for name in names if any(name in each.scores for each in standings)]
    empty = any(each.scores["no_attention"].value > 0 for each in standings if "no_attention" in each.scores)
    return {name: find_metric(name) for name in known if name != "no_attention" or empty}


def score_rows(ranking: Ranking) -> list[Row]:
    """Return a row for each mechanism, the best value of each score marked as shown."""
    standings = ranking.standings
    columns = {name: _column(standings, name, metric) for name, metric in score_metrics(standings).items()}
    rows = []
    for place, each in enumerate(standings):
        mean, cost = each.decisive, each.cost
        parts = f"{_short(cost.forwards)} forward + {_short(cost.backwards)} backward" if cost.backwards > 0 else ""
        rows.append(
            Row(
                each,
                "" if ranking.by_cue else f"{mean.value:.1f}",
                "" if ranking.by_cue else f"{mean.low:.1f} to {mean.high:.1f}",
                _short(cost.total),
                parts,
                f"{each.seconds * 1000:.3g} ms",
                tuple(column[place] for column in columns.values()),
            )
        )
    return rows


def csv_text(ranking: Ranking) -> str:
    """Return a row for each mechanism, with the ends of the interval of each score."""
    names = list(dict.fromkeys(name for each in ranking.standings for name in each.scores))
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    head = ["place", "mechanism", "as_good", "decisive", "forwards", "backwards", "seconds"]
    rows.writerow(head + [f"{name}{end}" for name in names for end in ("", "_low", "_high")])
    for each in ranking.standings:
        scores = [each.scores.get(name, Score(math.nan, math.nan, math.nan)) for name in names]
        rows.writerow(
            [each.place, each.name, int(each.as_good)]
            + [_digits(v) for v in (each.decisive.value, *each.cost, each.seconds)]
            + [_digits(v) for score in scores for v in (score.value, score.low, score.high)]
        )
    return text.getvalue()


def facts_of(ranking: Ranking) -> dict[str, Any]:
    """Return a ranking as JSON values, without pictures."""
    return {
        "data": ranking.data,
        "split": ranking.split,
        "images": ranking.images,
        "seed": ranking.seed,
        "take": ranking.take,
        "advice": ranking.advice,
        "reason": ranking.reason,
        "rule": ranking.rule,
        "cue": None if ranking.cue is None else asdict(ranking.cue),
        "decides": DECIDES if ranking.by_cue else "mean_rank",
        "mechanisms": [
            {
                "place": each.place,
                "name": each.name,
                "as_good": each.as_good,
                "decisive": asdict(each.decisive),
                "forwards": each.cost.forwards,
                "backwards": each.cost.backwards,
                "seconds": each.seconds,
                "scores": {name: asdict(score) for name, score in each.scores.items()},
            }
            for each in ranking.standings
        ],
        "refused": ranking.refused,
        "versions": {"looksharp": version("looksharp"), "torch": version("torch")},
    }


def _column(standings: Sequence[Standing], name: str, metric: Metric) -> list[Cell]:
    values = [each.scores[name].value if name in each.scores else math.nan for each in standings]
    known = sorted(filter(math.isfinite, values), reverse=metric.better == "higher")
    shown = [in_words(value, metric.percent) for value in known]
    best = shown[0] if metric.better and len(set(shown)) > 1 else None
    cells = []
    for each, value in zip(standings, values, strict=True):
        text = in_words(value, metric.percent)
        score = each.scores.get(name)
        cells.append(Cell(text, text == best, interval="" if score is None else _between(score, metric.percent)))
    return cells


def _between(score: Score, percent: bool) -> str:
    if not math.isfinite(score.low):
        return ""
    if percent:
        return f"{score.low * 100:.0f} to {score.high * 100:.0f}"
    return f"{score.low:.2f} to {score.high:.2f}".replace("-", "−")


def _short(cost: float) -> str:
    return "–" if not math.isfinite(cost) else f"{cost:.2f}" if cost < 9.95 else f"{cost:,.0f}"


def _digits(value: float) -> str:
    return "" if not math.isfinite(value) else f"{value:.6g}"
