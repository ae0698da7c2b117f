"""Mark: objects on the images that are worth marking, saved at every stroke."""

from __future__ import annotations

from looksharp.studio.page import PAGES, Page
from looksharp.studio.workspace import Workspace

__all__ = ["mark"]


async def mark(workspace: Workspace) -> None:
    """Fill the page."""
    data, run = await workspace.data(), await workspace.run()
    from looksharp.studio.marking import Marking

    await Marking(workspace, data, run).build()


PAGES.add(
    "mark",
    Page(
        "Mark",
        mark,
        place=3,
        summary="Show the object on a few images. Every stroke is saved at once, as COCO, in the run's folder.",
        keys={
            "n": "next image",
            "p": "previous image",
            "a": "accept the proposal",
            "s": "shrink the proposal",
            "r": "refuse the proposal",
            "u": "take back the last stroke",
            "U": "put it back",
            "b": "rectangle",
            "g": "polygon",
            "d": "brush",
            "m": "move the image",
            "[ and ]": "smaller and larger brush",
            "+ and -": "zoom",
            "0": "the whole image",
            "arrows, Space, Enter": "draw without a mouse, while the image has the focus",
        },
    ),
)
