"""Find: what recurs where the network looks, and whether it is a shortcut."""

from __future__ import annotations

from looksharp.studio.page import PAGES, Page
from looksharp.studio.workspace import Workspace

__all__ = ["find"]


async def find(workspace: Workspace) -> None:
    """Fill the page."""
    data, run = await workspace.data(), await workspace.run()
    from looksharp.studio.finding import Finding

    await Finding(workspace, data, run).build()


PAGES.add(
    "find",
    Page(
        "Find",
        find,
        place=2,
        summary="Groups of training images in which the network reads something that looks alike. The tests say what "
        "the network does with a piece; you say what it is.",
    ),
)
