"""Retrain: choose a method by what was measured of it, and follow the trainings."""

from __future__ import annotations

from looksharp.studio.page import PAGES, Page
from looksharp.studio.workspace import Workspace

__all__ = ["retrain"]


async def retrain(workspace: Workspace) -> None:
    """Fill the page."""
    data, run = await workspace.data(), await workspace.run()
    from looksharp.studio.retraining import Retraining

    await Retraining(workspace, data, run).build()


PAGES.add(
    "retrain",
    Page(
        "Retrain",
        retrain,
        place=4,
        summary="Train again with your marks and ticks, and measure what it changes.",
    ),
)
