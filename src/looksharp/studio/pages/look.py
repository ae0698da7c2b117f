"""Look: accuracy and confusions of a run, and its images by what it answers to them."""

from __future__ import annotations

from looksharp.studio.page import PAGES, Page
from looksharp.studio.workspace import Workspace

__all__ = ["look"]


async def look(workspace: Workspace) -> None:
    """Fill the page."""
    from looksharp.studio.detail import Detail
    from looksharp.studio.grid import Grid

    data, run = await workspace.data(), await workspace.run()
    detail = Detail(workspace, data, run)
    detail.grid = grid = Grid(workspace, data, run, detail.show)
    grid.draw_figures()
    detail.build()
    grid.draw_images()


PAGES.add(
    "look",
    Page(
        "Look",
        look,
        place=1,
        summary="What the network answers, image by image, and where it looks.",
        keys={
            "n": "next page of images",
            "p": "previous page of images",
            "j": "next image",
            "k": "previous image",
            "Escape": "close the image",
        },
    ),
)
