"""Parse a recipe: one table of a paper, with the settings, figures and measures of its rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from looksharp.evaluation.suite import SUITES
from looksharp.reproducing.figure import OWN_SUITES, Measure, Unit
from looksharp.training.settings import RunConfig

__all__ = ["Recipe", "Row", "merged", "parse_recipe"]

_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        label: as the table names it.
        settings: all of them, as `RunConfig.from_flat` reads them.
        paper: metric -> the paper's figure.
        over: the row from which gains count.
        note: what is to be known about this row alone.
        seeds: settings of the seeds, where a segmentation is learnt from the row's attention; see `SeedSettings`.
    """

    label: str
    settings: Mapping[str, Any]
    paper: Mapping[str, float]
    over: str | None = None
    note: str = ""
    seeds: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A table of a paper.

    Attributes:
        name: "paper/table".
        paper: short name of the paper.
        title: what the table is, in a line.
        data: what the images must look like and where people get them.
        rows: by their short names.
        measure: metric -> how it is measured.
        images: training images of the whole set.
        gflops: of one image's forward through the table's largest network; a multiplication and an addition are two.
        folder: whether the images are a folder of the user's, which no setting can name.
        cue: the class that is tested with and without its cue.
        chart: metrics "across" and "up" of the chart that is drawn of the rows; none if empty.
        panels: rows "alone" and "attended" whose test images are drawn as points (ABN Fig. 6); none if empty.
        notes: readings: where the paper leaves something open, or differs from its authors' code.
    """

    name: str
    paper: str
    title: str
    data: str
    rows: Mapping[str, Row]
    measure: Mapping[str, Measure]
    images: int
    gflops: float
    folder: bool = False
    cue: str | None = None
    chart: Mapping[str, str] = field(default_factory=dict)
    panels: Mapping[str, str] = field(default_factory=dict)
    notes: str = ""

    def config(self, row: str, **changes: Any) -> RunConfig:
        """Return the settings of a row, some of them changed.

        Raises:
            ValueError: if there is no such row, or a setting does not exist.
        """
        if row not in self.rows:
            raise ValueError(f"{self.name} has no row {row!r}; there are {', '.join(self.rows)}")
        try:
            values = dict(self.rows[row].settings)
            if "data" in changes:  # other images have none of the set's settings
                values.pop(str(values.get("data")), None)
            return RunConfig.from_flat(values | changes)
        except ValueError as error:
            raise ValueError(f"recipe {self.name}, row {row}: {error}") from None


def parse_recipe(name: str, values: Mapping[str, Any]) -> Recipe:
    """Parse a recipe from the content of its file, inheritance resolved.

    Raises:
        ValueError: in one line that names the recipe and the part at fault.
    """
    where = f"recipe {name}"
    given = dict(values)
    settings = _mapping(given.pop("settings", {}), f"{where}: settings")
    rows = _mapping(given.pop("rows", {}), f"{where}: rows")
    measures = _mapping(given.pop("measure", {}), f"{where}: measure")
    _check_names(given, Recipe, where, frozenset({"name"}))
    for needed in ("paper", "title", "data", "images", "gflops"):
        if given.get(needed) in (None, ""):
            raise ValueError(f"{where} lacks {needed}")
    if not rows or not measures:
        raise ValueError(f"{where} lacks {'rows' if measures else 'measure'}")
    found = {metric: _measure(each, f"{where}, measure {metric}") for metric, each in measures.items()}
    parsed = {row: _row(row, each, settings, found, f"{where}, row {row}") for row, each in rows.items()}
    for row, each in parsed.items():
        if each.over is not None and each.over not in parsed:
            raise ValueError(f"{where}, row {row}: over names {each.over!r}, which is no row")
    chart = _mapping(given.pop("chart", {}), f"{where}: chart")
    if chart and (chart.keys() != {"across", "up"} or not set(chart.values()) <= found.keys()):
        raise ValueError(
            f"{where}: chart must name a metric across and one up, of {', '.join(found)}; got {chart!r:.80}"
        )
    panels = _mapping(given.pop("panels", {}), f"{where}: panels")
    if panels and (panels.keys() != {"alone", "attended"} or not set(panels.values()) <= parsed.keys()):
        raise ValueError(f"{where}: panels must name a row alone and one attended, of its rows; got {panels!r:.80}")
    return Recipe(name=name, rows=parsed, measure=found, chart=chart, panels=panels, **given)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings: nested ones are merged, null removes, anything else replaces."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _row(name: str, values: Any, settings: Mapping[str, Any], measures: Mapping[str, Measure], where: str) -> Row:
    given = _mapping(values, where)
    _check_names(given, Row, where)
    own = merged(settings, _mapping(given.pop("settings", {}), f"{where}: settings"))
    for setting, value in own.items():
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            raise ValueError(f"{where}: {setting} is the text {value!r}; YAML reads numbers such as 0.001 or 1.0e-3")
    paper = _mapping(given.pop("paper", {}), f"{where}: paper")
    for metric, figure in paper.items():
        if metric not in measures:
            raise ValueError(f"{where}: paper has {metric!r}, which is not measured; there are {', '.join(measures)}")
        if isinstance(figure, bool) or not isinstance(figure, int | float):
            raise ValueError(f"{where}: the paper's {metric} must be a number; got {figure!r}")
    seeds = _mapping(given.pop("seeds", {}), f"{where}: seeds")
    return Row(**({"label": name} | given), settings=own, paper=paper, seeds=seeds)


def _measure(values: Any, where: str) -> Measure:
    given = _mapping(values, where)
    _check_names(given, Measure, where)
    if "value" not in given:
        raise ValueError(f"{where} lacks value")
    found = Measure(**given)
    if found.suite not in (*SUITES, *OWN_SUITES):
        raise ValueError(f"{where}: suite {found.suite!r} is not known; there are {', '.join((*SUITES, *OWN_SUITES))}")
    if found.unit not in get_args(Unit):
        raise ValueError(f"{where}: unit must be one of {', '.join(get_args(Unit))}; got {found.unit!r}")
    return found


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping, name: value; got {values!r:.60}")
    return dict(values)


def _check_names(given: Mapping[str, Any], kind: type, where: str, without: frozenset[str] = frozenset()) -> None:
    known = [each.name for each in fields(kind) if each.name not in without]
    for name in given:
        if name not in known:
            raise ValueError(f"{where}: {name!r} is no part of it; there are {', '.join(known)}")
