"""Choose the best checkpoint by a validation score; one of them no shortcut can raise."""

from __future__ import annotations

from typing import get_args

import torch

from looksharp.data.split import Data, Split
from looksharp.interventions.exchanged_split import exchanged_split
from looksharp.training.settings import SelectBy

__all__ = ["EXCHANGED", "validation_splits"]

EXCHANGED = 500
"""Largest number of validation images whose surroundings are exchanged; each epoch validates on as many more."""


def validation_splits(
    data: Data, select_by: SelectBy, seed: int, *, device: torch.device | str = "cpu", workers: int = 0
) -> list[Split]:
    """Return what each epoch validates on: validation images and, for "exchanged_across", some in others' surroundings.

    Raises:
        ValueError: if the validation images lack the groups or masks that `select_by` needs.
    """
    val = data.splits["val"]
    if select_by not in get_args(SelectBy):
        raise ValueError(f"select_by must be one of {', '.join(get_args(SelectBy))}; got {select_by!r}")
    if select_by == "worst_group":
        _check_groups(val)
    if select_by != "exchanged_across":
        return [val]
    if val.marks is None or not len(val.marks):
        raise ValueError(
            f"select_by 'exchanged_across' needs masks on validation images, and those of {data.name} have none: "
            f"marks are for training images alone, so put masks of validation images into the data folder's masks/, "
            f"under the images' relative paths, or take select_by 'score'"
        )
    try:
        return [val, exchanged_split(val, data.pixels, limit=EXCHANGED, seed=seed, device=device, workers=workers)]
    except ValueError as error:
        raise ValueError(f"select_by 'exchanged_across', on validation images: {error}") from None


def _check_groups(val: Split) -> None:
    if val.targets.ndim == 2:
        raise ValueError(
            "select_by 'worst_group' needs one class for each image, but these may have several; take 'score' or "
            "'exchanged_across'"
        )
    if val.groups is None:
        raise ValueError(
            "select_by 'worst_group' needs the images' groups, but they are not known; give the data a groups.csv "
            "(columns path, group), or take 'exchanged_across', which needs masks on validation images instead"
        )
    if len(val.groups.unique()) < 2:
        raise ValueError(
            f"select_by 'worst_group' needs validation images of two groups or more, but all {len(val)} are of one; "
            f"take 'exchanged_across', which needs masks on validation images instead"
        )
