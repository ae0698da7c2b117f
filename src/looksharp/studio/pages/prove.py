"""Prove: the reports of cures, and interventions on any image."""

from __future__ import annotations

from looksharp.studio.page import PAGES, Page
from looksharp.studio.workspace import Workspace

__all__ = ["prove"]


async def prove(workspace: Workspace) -> None:
    """Fill the page."""
    data, run = await workspace.data(), await workspace.run()
    from looksharp.studio.proving import Proving

    await Proving(workspace, data, run).build()


PAGES.add(
    "prove",
    Page(
        "Prove",
        prove,
        place=5,
        summary="Is the shortcut gone? Put the object elsewhere, and read both classifiers' answers.",
        keys={"n": "next images", "p": "previous images"},
    ),
)
