"""Addresses of files and pictures, beside those of the pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from looksharp.studio.guarding import inside
from looksharp.studio.ticked import groups_file
from looksharp.studio.workspace import Workspace

if TYPE_CHECKING:
    from fastapi import FastAPI, Response

__all__ = ["STYLE", "add_routes", "image_address"]

STYLE = ("/studio.css", "/studio.js")
_PARTS = {
    "/studio.css": (("drawing/page.css", "studio/studio.css"), "text/css"),
    "/studio.js": (("studio/studio.js",), "text/javascript"),
}


def image_address(split: str, index: int, side: int = 160) -> str:
    """Return the address of an image: of a picture at most `side` pixels long, or of the whole image with 0."""
    from urllib.parse import quote

    return f"/image/{side}/{index}/{quote(split, safe='')}"


def add_routes(app: FastAPI, workspace: Workspace) -> None:
    """Serve the images of the data by split and place, and the studio's own style and script.

    No address holds a path of a file but those below `/report/`, which stay inside the folders of cures.
    """
    from fastapi import HTTPException, Response

    from looksharp.studio.reports import report_folder

    @app.get("/image/{side}/{index}/{split:path}")
    async def _(side: int, index: int, split: str) -> Response:
        try:
            splits = (await workspace.data()).splits
            if split not in splits:
                raise ValueError(f"there is no split {split!r:.100}")
            content = await workspace.work(workspace.thumbnails.of, split, splits[split], index, side)
        except (ValueError, OSError) as error:
            raise HTTPException(404, str(error)) from None
        return Response(content, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})

    @app.get("/report/{name}/{path:path}")
    async def _(name: str, path: str) -> Response:
        try:
            groups = groups_file(workspace.folder, workspace.settings.cues).parent
            file = inside(groups if name == "groups" else report_folder(workspace.path, name), path)
        except ValueError as error:
            raise HTTPException(404, str(error)) from None
        kinds = {".html": "text/html", ".svg": "image/svg+xml", ".png": "image/png"}
        if file.suffix not in kinds:
            raise HTTPException(404, f"there is no file {path!r:.200}")
        content = await workspace.work(file.read_bytes)
        policy = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox"
        return Response(content, media_type=kinds[file.suffix], headers={"content-security-policy": policy})

    for address, (names, kind) in _PARTS.items():
        content = "\n".join((files("looksharp") / name).read_text(encoding="utf-8") for name in names)
        app.get(address)(_answering(content, kind))


def _answering(content: str, kind: str) -> Callable[[], Awaitable[Response]]:
    from fastapi import Response as Answer

    async def answer() -> Response:
        return Answer(content, media_type=kind, headers={"cache-control": "no-cache"})

    return answer
