"""Check every link of the built pages that stays within them, and warn as Sphinx does."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

_LOG = logging.getLogger(__name__)


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note the tag's links and its name."""
        found = dict(attributes)
        self.links |= {found[name] or "" for name in ("href", "src") if name in found}
        self.places |= {found[name] or "" for name in ("id", "name") if name in found}


def broken(folder: Path) -> list[str]:
    """List the links below a folder that lead nowhere in it; those to other sites are not asked."""
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            lost = not target.exists() or (place and target in pages and place not in pages[target].places)
            if lost:
                found.append(f"{path.relative_to(folder.resolve())} links to {link}, which is not there")
    return found


def check(app: Sphinx, error: Exception | None) -> None:
    """Warn of each broken link."""
    if error is None and app.builder.format == "html":
        for line in broken(Path(app.outdir)):
            _LOG.warning(line, type="links")


def setup(app: Sphinx) -> dict[str, bool]:
    """Look once everything is written."""
    app.connect("build-finished", check)
    return {"parallel_read_safe": True}
