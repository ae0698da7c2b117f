"""Group runs into methods: runs that differ only in their seed are one method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from looksharp.objectives.base import PARTS
from looksharp.settings import settings_of
from looksharp.training.differing import PLACE
from looksharp.training.facts import read_facts
from looksharp.training.folder import read_config
from looksharp.training.settings import RunConfig

__all__ = ["Method", "group_runs"]

_PATHS = ("data", "marks", "cues", "weights")
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
    in which they differ. Each adopted run is a method.

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
        facts = read_facts(path)
        config = read_config(path)
        values = _method_settings(config)
        if facts.adopted:  # how it was trained is not known, so that each is a method of its own
            values["adopted"] = path.name
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
    """Return the settings that make the method, flat: those of a part, set or architecture as "icasc.theta"."""
    flat = config.flat()
    parts = {name: settings for part in flat.pop("objective") for name, settings in part.items()}
    values: dict[str, Any] = {"objective": "+".join(parts)}
    for name, value in {**parts, **flat}.items():
        if name in (*PLACE, "seed"):
            continue
        if name in PARTS:  # what a part has by default tells nothing
            own = settings_of(PARTS[name])
            values |= {f"{name}.{setting}": v for setting, v in value.items() if v != own[setting].default}
        elif isinstance(value, dict):
            values |= {f"{name}.{setting}": chosen for setting, chosen in value.items()}
        elif name in _PATHS and value is not None:
            values[name] = PurePath(value).name  # the same images in another place
        else:
            values[name] = value
    return values


def _differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of settings that differ."""
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
    """Name a method after the part that classifies or segments, and its guidance with weights other than their own."""
    names = values["objective"].split("+")
    alone = [name for name in names if PARTS[name].classifies or PARTS[name].segments]
    label = "+".join(PARTS[name].__name__ for name in alone)
    guiding = [name for name in names if PARTS[name].reads_marks or PARTS[name].reads_cues]
    guidance = "+".join(_weighted(name, values) for name in guiding if name not in alone)
    return f"{label} + {guidance} guidance" if guidance else label


def _weighted(name: str, values: dict[str, Any]) -> str:
    weight = values.get(f"{name}.weight")  # there only where it is not the part's own
    return name if weight is None else f"{name}:{weight:g}"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "default" if value is None else str(value)
