"""Runs that differ in their seed alone are one method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from looksharp.objectives import OBJECTIVES
from looksharp.training.folder import read_config
from looksharp.training.settings import RunConfig

__all__ = ["Method", "group_runs"]

_NO_PART = {"seed", "root", "device", "workers"}
"""Settings that say on which machine, from which copy or in which order of chance, and not what was trained."""
_PATHS = ("data", "guidance", "guidance_backgrounds", "weights")
_LONGEST = 3  # settings named in a label


@dataclass(frozen=True)
class Method:
    """One way of training, and its runs.

    Attributes:
        name: short, unique among the methods.
        runs: the run folders, a seed each, in the order in which they were given.
        seeds: of the runs.
        differs: the settings in which the compared methods differ, name -> value.
    """

    name: str
    runs: tuple[Path, ...]
    seeds: tuple[int, ...]
    differs: dict[str, Any]


def group_runs(paths: Sequence[Path], names: Sequence[str] | None = None) -> tuple[Method, ...]:
    """Group run folders by their settings without the seed and without paths, in the order in which they come.

    A method is called after its objective and its guidance; where that leaves two alike, also after the settings
    in which they differ.

    Args:
        paths: run folders.
        names: one for each method, in place of those.

    Raises:
        ValueError: if a folder is no run, a run is there twice, there are fewer than two methods, or `names` are
            not one for each method.
    """
    settings: dict[str, dict[str, Any]] = {}
    members: dict[str, dict[int, Path]] = {}
    for path in paths:
        for file in ("config.yaml", "run.json"):
            if not (path / file).is_file():
                raise ValueError(f"{path} is not a run folder: it has no {file}")
        config = read_config(path)
        values = _method_settings(config)
        key = json.dumps(values, sort_keys=True, default=str)
        settings.setdefault(key, values)
        seeds = members.setdefault(key, {})
        if config.training.seed in seeds:
            raise ValueError(
                f"runs {seeds[config.training.seed]} and {path} have the same settings and seed "
                f"{config.training.seed}, which would count as two seeds: leave one out"
            )
        seeds[config.training.seed] = path
    if len(settings) < 2:
        raise ValueError(f"runs must be of two methods or more; these {len(paths)} differ in nothing but their seed")
    differing = _differing(list(settings.values()))
    differs = [{name: values.get(name) for name in differing} for values in settings.values()]
    if names is None:
        names = _labels(list(settings.values()))
    elif len(names) != len(settings) or len(set(names)) < len(names):
        raise ValueError(
            f"names must be {len(settings)} different ones, for the methods of "
            f"{', '.join(str(next(iter(seeds.values()))) for seeds in members.values())}; got {', '.join(names)}"
        )
    return tuple(
        Method(name, tuple(seeds.values()), tuple(seeds), chosen)
        for name, seeds, chosen in zip(names, members.values(), differs, strict=True)
    )


def _method_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that make the method, flat: an objective's own as "icasc.theta"."""
    values: dict[str, Any] = {}
    for name, value in config.flat().items():
        if name in _NO_PART:
            continue
        if name == config.objective:
            values |= {f"{name}.{option}": chosen for option, chosen in value.items()}
        elif name in _PATHS and value is not None:
            values[name] = PurePath(value).name  # the same images in another place
        else:
            values[name] = value
    return values


def _differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Names of settings that are not the same in all."""
    names = dict.fromkeys(name for values in settings for name in values)
    return [name for name in names if any(v.get(name) != settings[0].get(name) for v in settings)]


def _labels(settings: Sequence[dict[str, Any]]) -> list[str]:
    bases = [_base(values) for values in settings]
    labels = []
    for base, values in zip(bases, settings, strict=True):
        alike = [other for name, other in zip(bases, settings, strict=True) if name == base]
        told = [f"{name.rpartition('.')[2]} {_short(values.get(name))}" for name in _differing(alike)]
        more = ", …" if len(told) > _LONGEST else ""
        labels.append(f"{base} ({', '.join(told[:_LONGEST])}{more})" if told else base)
    # Labels cut short may still be alike.
    return [
        f"{label} {labels[: i + 1].count(label)}" if labels.count(label) > 1 else label
        for i, label in enumerate(labels)
    ]


def _base(values: dict[str, Any]) -> str:
    objective = values["objective"]
    label = OBJECTIVES[objective].__name__ if objective in OBJECTIVES else objective
    return label if values.get("guidance") is None else f"{label} + {values['guidance_loss']} guidance"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "default" if value is None else str(value)
