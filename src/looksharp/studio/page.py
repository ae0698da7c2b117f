"""Pages of the studio, and the registry in which each registers itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from looksharp.registry import Registry
from looksharp.studio.workspace import Workspace

__all__ = ["PAGES", "Page", "pages"]


@dataclass(frozen=True)
class Page:
    """A page of the studio.

    Attributes:
        title: its heading, and what the navigation calls it.
        build: fills the page; it is called anew for every visit, before the run is loaded, and may wait for it.
        place: order in the navigation, which is also the key that opens it; plugins' pages come last.
        summary: one sentence below the heading.
        keys: key -> what it does on this page, for the list of keys. Scripts heed `window.looksharpKeys`, which is
            false where a person switched single keys off.
    """

    title: str
    build: Callable[[Workspace], Awaitable[None]]
    place: int = 100
    summary: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)


PAGES: Registry[Page] = Registry("page", "looksharp.studio.pages")
"""Every page by its name, which is also its path."""


def pages() -> dict[str, Page]:
    """Return all pages in the order of the navigation."""
    return dict(sorted(PAGES.items(), key=lambda item: item[1].place))
