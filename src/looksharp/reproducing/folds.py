"""Train a table's rows on each fold of a data set, and take the mean over folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from looksharp.data.dividing import FOLDS
from looksharp.experiments.record import Record, read_records
from looksharp.settings import SettingError
from looksharp.training.settings import RunConfig

__all__ = ["ALL", "chosen_folds", "fold_folder", "mean_over_folds", "with_fold"]

ALL: Literal["all"] = "all"


def chosen_folds(fold: int | Literal["all"] | None) -> tuple[int | None, ...]:
    """Return the folds that are tested on in turn; None for what the recipe itself says."""
    return tuple(range(FOLDS)) if fold == ALL else (fold,)


def with_fold(name: str, config: RunConfig, fold: int | None) -> RunConfig:
    """Return the settings with another fold to test on.

    Args:
        name: the recipe's, for the message.
        config: settings of a row.
        fold: the fold; None leaves them as they are.

    Raises:
        SettingError: if the data set has no folds.
    """
    if fold is None:
        return config
    if "fold" not in config.data.settings:
        raise SettingError(f"fold is for data sets that are divided into folds; {name} is of {config.data.data}")
    return replace(config, data=replace(config.data, settings={**config.data.settings, "fold": fold}))


def fold_folder(home: Path, fold: int | None) -> Path:
    """Return the folder of a fold's runs and table: HOME/folds/fold-N, or HOME itself for no fold."""
    return home if fold is None else home / "folds" / f"fold-{fold}"


def mean_over_folds(home: Path) -> list[Record]:
    """Return the mean over all folds for each row and seed; those that lack a fold are left out.

    Values are averaged where every fold has them; images and seconds are sums.

    Args:
        home: the table's folder, which holds folds/fold-N.
    """
    found: dict[tuple[str, int], list[Record]] = {}
    for fold in range(FOLDS):
        for record in read_records(fold_folder(home, fold)):
            found.setdefault((record.variant, record.seed), []).append(record)
    return [_mean(records) for _, records in sorted(found.items()) if len(records) == FOLDS]


def _mean(records: list[Record]) -> Record:
    first = records[0]
    settings: dict[str, Any] = first.settings
    own = settings["data"]  # below it stand the set's own settings
    return replace(
        first,
        values=_means([record.values for record in records]),
        settings={**settings, own: {**settings[own], "fold": ALL}},
        images=sum(record.images for record in records),
        seconds=sum(record.seconds for record in records),
        commit=_all(record.commit for record in records),
        hardware=_all(record.hardware for record in records),
        diverged=_all(record.diverged for record in records if record.diverged),
    )


def _means(values: list[Mapping[str, float]]) -> dict[str, float]:
    shared = [name for name in values[0] if all(name in other for other in values)]
    return {name: fmean(each[name] for each in values) for name in shared}


def _all(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
