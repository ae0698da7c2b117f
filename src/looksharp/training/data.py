"""The images of a run: its own, or others whose classes are among the run's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from looksharp.data.build import DataConfig, below_data, build_data
from looksharp.data.class_map import map_lines, mapped
from looksharp.data.matching import match_classes
from looksharp.data.split import Data
from looksharp.training.folder import Run

__all__ = ["fitted_data", "map_said", "moved_data", "run_data"]


def moved_data(
    config: DataConfig,
    data: str | None = None,
    root: Path | str | None = None,
    class_map: Path | None = None,
) -> DataConfig:
    """Return the settings of a run's images, moved to another folder or replaced by another set.

    Args:
        config: settings of the run's images.
        data: another set or folder; the run's if not given.
        root: the folder of its files; the run's if not given.
        class_map: file that maps its classes to the run's; what the run keeps if not given.
    """
    name = config.data if data is None else data
    own = below_data(name) == below_data(config.data)
    return replace(
        config,
        data=name,
        root=config.root if root is None else Path(root),
        settings=config.settings if own else {},
        class_map=config.class_map if class_map is None else class_map,
    )


def run_data(run: Run, data: str | None = None, root: Path | str | None = None, class_map: Path | None = None) -> Data:
    """Read a run's images, or others whose classes are among the run's, by the run's pixels.

    Args:
        run: the trained run.
        data: another set or folder; the run's if not given.
        root: the folder of its files; the run's if not given.
        class_map: file that maps its classes to the run's; what the run keeps if not given.

    Raises:
        ValueError: if they cannot be read, or have other classes than the run.
    """
    config = moved_data(run.config.data, data, root, class_map)
    found = fitted_data(build_data(config, run.config.training.seed), run.classes)
    return replace(found, pixels=run.pixels)


def fitted_data(data: Data, classes: tuple[str, ...]) -> Data:
    """Return images with the classes of a run; their own may be some of them, in any order or spelling.

    Raises:
        ValueError: if a class is none of the run's; see `match_classes`.
    """
    return data if data.classes == classes else mapped(data, match_classes(data.classes, classes, data.name), classes)


def map_said(data: Data, config: DataConfig | None = None) -> str:
    """Return in words how the classes of images are the run's; "" where they are, or the run keeps that.

    Args:
        data: images with the run's classes; see `run_data`.
        config: settings of the run's images.
    """
    if not data.sources or (config is not None and data.sources == config.class_map):
        return ""
    shown = len({partner for partner in data.sources.values() if partner is not None})
    first = f"data {data.name}: {shown} of the run's {len(data.classes)} classes"
    if all(name == partner for name, partner in data.sources.items()):
        return "" if shown == len(data.classes) else first + "\n"
    return "\n".join([f"{first}, by this map", *map_lines(data.sources), ""])
