"""Learn a segmentation from where a recipe's classifier looks, and measure it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from looksharp.data.seed_folder import read_seed_folder
from looksharp.data.sets.seeded import seed_marks
from looksharp.data.split import Data
from looksharp.evaluation import evaluate_run
from looksharp.segmentation import make_seeds
from looksharp.segmentation.preset import STEPS, sec_settings
from looksharp.segmentation.settings import SeedSettings
from looksharp.training.run import train
from looksharp.training.settings import RunConfig

__all__ = ["segmented"]

_SMOKE: dict[str, Any] = {"backbone": "small", "batch_size": 4, "large_fov": {"width": 8}}
_SMOKE_STEPS = 4


def segmented(
    path: Path,
    data: Data,
    seeds: Mapping[str, Any],
    seed: int,
    *,
    smoke: bool = False,
    device: str = "auto",
    workers: int = 2,
    progress: bool = True,
) -> dict[str, dict[str, float]]:
    """Make seeds of a classifier's training images, train SEC on them, and measure it on the test images.

    RUN/seeds and RUN/sec hold both; what is there already is kept.

    Args:
        path: the classifier's run folder.
        data: its images, those that are tested with masks.
        seeds: settings of the seeds that are not SEC's; see `SeedSettings`.
        seed: seed of the segmentation.
        smoke: train a small network for a few steps.
        device: where both networks run.
        workers: processes that read image files.
        progress: show progress bars.

    Returns:
        Checkpoint of the segmentation -> the values of suite segmentation on the first test split.
    """
    as_published = {"background_scale": 1.0} | dict(seeds)  # the gradient at the image's own size
    settings = SeedSettings(path, path / "seeds", device=device, workers=workers, **as_published)
    make_seeds(settings, data=data, progress=progress)
    images = data.splits["train"]
    marked = replace(images, marks=seed_marks(read_seed_folder(settings.out), images))
    seeded = replace(data, splits=data.splits | {"train": marked})
    given = {"device": device, "workers": workers, "seed": seed} | (_SMOKE if smoke else {})
    config = RunConfig.from_flat(sec_settings(settings.out, given, steps=_SMOKE_STEPS if smoke else STEPS))
    if config.data.image_size is not None:
        seeded = seeded.resized(config.data.image_size)
    seeded = replace(seeded, pixels=replace(seeded.pixels, fit=config.data.fit))
    out = path / "sec"
    train(config, out, data=seeded, resume=(out / "config.yaml").is_file(), progress=progress)
    found: dict[str, dict[str, float]] = {}
    for checkpoint in ("last", "best"):
        each = evaluate_run(
            out,
            data=seeded,
            checkpoint=checkpoint,
            suites=("segmentation",),
            device=device,
            workers=workers,
            progress=progress,
        )
        found[checkpoint] = next(iter(each.values())).values
    return found
