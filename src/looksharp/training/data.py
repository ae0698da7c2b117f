"""The images of a run: its own, or others with the same classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from looksharp.data.build import DataConfig, below_data, build_data
from looksharp.data.split import Data
from looksharp.training.folder import Run

__all__ = ["check_classes", "moved_data", "run_data"]


def moved_data(config: DataConfig, data: str | None = None, root: Path | str | None = None) -> DataConfig:
    """Return the settings of a run's images, moved to another folder or replaced by another set.

    Args:
        config: settings of the run's images.
        data: another set or folder; the run's if not given.
        root: the folder of its files; the run's if not given.
    """
    name = config.data if data is None else data
    own = below_data(name) == below_data(config.data)
    return replace(
        config,
        data=name,
        root=config.root if root is None else Path(root),
        settings=config.settings if own else {},
    )


def run_data(run: Run, data: str | None = None, root: Path | str | None = None) -> Data:
    """Read a run's images, or others with the same classes, by the run's way from pixels to the network's input.

    Args:
        run: the trained run.
        data: another set or folder; the run's if not given.
        root: the folder of its files; the run's if not given.

    Raises:
        ValueError: if they cannot be read, or have other classes than the run.
    """
    found = build_data(moved_data(run.config.data, data, root), run.config.training.seed)
    check_classes(found, run)
    return replace(found, pixels=run.pixels)


def check_classes(data: Data, run: Run) -> None:
    """Refuse images of other classes than the run's.

    Raises:
        ValueError: if classes or their order differ.
    """
    if data.classes != run.classes:
        raise ValueError(
            f"data {data.name} has other classes than the run: {len(data.classes)}, first {data.classes[0]!r}, "
            f"and not {len(run.classes)}, first {run.classes[0]!r}"
        )
