"""Lay out what all pages share: header, navigation, keys, and a place for errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec

from nicegui import Client, html, ui
from nicegui.element import Element

from looksharp.studio.page import Page, pages
from looksharp.studio.routes import STYLE
from looksharp.studio.workspace import Workspace

__all__ = ["add_pages", "again", "put", "reporting", "said", "write"]

P = ParamSpec("P")


def put(kind: type[Element], text: str | None = None, classes: str = "", **attributes: object) -> Element:
    """Put an HTML element where the page is being built; text and attributes are escaped.

    Args:
        kind: a class of `nicegui.html`.
        text: what is in it.
        classes: its CSS classes.
        attributes: by name, a low line for a hyphen, one at the end left out (`for_`); False and None leave one out.
    """
    made = kind(text)
    given = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    made.props.update({name: value for name, value in given.items() if value is not False and value is not None})
    return made.classes(classes) if classes else made


def again(element: Element, draw: Callable[[], object]) -> None:
    """Empty an element and fill it anew."""
    element.clear()
    with element:
        draw()


def write(element: Element, text: str) -> None:
    """Write a text in place of what an element holds."""
    again(element, lambda: put(html.span, text))


def said(error: Exception) -> str:
    """Return an error's words in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def reporting(action: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Return a handler that shows an error of the user's on the page instead of failing.

    It is called while the page is being built, and works on when what it was put beside is gone.
    """
    client = ui.context.client

    @wraps(action)
    async def handle(*given: P.args, **named: P.kwargs) -> None:
        with client:
            try:
                await action(*given, **named)
            except (ValueError, OSError) as error:
                ui.notify(said(error), type="negative", multi_line=True, close_button="Close", timeout=0)

    return handle


def add_pages(workspace: Workspace) -> None:
    """Serve every page at its name, the first one at the root too."""
    known = pages()
    first = next(iter(known))
    for name, page in known.items():
        build = _building(workspace, name, page)
        ui.page(f"/{name}", title=f"{page.title} · {workspace.title}")(build)
        if name == first:
            ui.page("/", title=f"{page.title} · {workspace.title}")(build)


def _building(workspace: Workspace, name: str, page: Page) -> Callable[[Client], Awaitable[None]]:
    async def build(client: Client) -> None:
        ui.add_head_html(f'<link rel="stylesheet" href="{STYLE[0]}"><script src="{STYLE[1]}" defer></script>')
        ui.query("main.q-page").props("role=presentation")  # NiceGUI's own, around the header too
        _header(workspace, name)
        with put(html.main, id="main", tabindex="-1", aria_busy="true") as main:
            put(html.h1, page.title)
            if page.summary:
                put(html.p, page.summary, "summary")
            state = put(html.p, "" if workspace.loaded else _loading(workspace), "note", role="status")
        _keys(page)
        await client.connected()
        workspace.begin()
        with main:
            try:
                await page.build(workspace)
            except (ValueError, OSError) as error:
                put(html.p, said(error), "error", role="alert")
            state.delete()
            main.props.set_optional("aria-busy", None)

    return build


def _loading(workspace: Workspace) -> str:
    count = sum(workspace.images.values())
    return f"Loading the run: {len(workspace.classes):,} classes, {count:,} images. The first time takes some seconds."


def _header(workspace: Workspace, current: str) -> None:
    put(html.a, "Skip to the content", "skip", href="#main")
    with put(html.header, classes="bar"):
        with put(html.p, classes="brand"):
            put(html.b, workspace.title)
            put(html.span, " looksharp studio", "note")
        with put(html.nav, aria_label="Pages"), put(html.ul):
            for place, (name, page) in enumerate(pages().items(), 1):
                with put(html.li):
                    put(
                        html.a,
                        page.title,
                        href=f"/{name}",
                        data_key=str(place) if place < 10 else None,
                        aria_current="page" if name == current else None,
                    )
        put(html.button, "Keys", type="button", data_opens="keys", aria_haspopup="dialog", title="Keys (?)")


def _keys(page: Page) -> None:
    """Put the dialog that lists what keys do; they can be switched off, for those who speak to their browser."""
    listed = {str(place): f"{each.title} page" for place, each in enumerate(pages().values(), 1) if place < 10}
    with put(html.dialog, id="keys", aria_labelledby="keys-title"):
        put(html.h2, "Keys", id="keys-title")
        with put(html.dl):
            for key, action in {**listed, **page.keys, "?": "this list"}.items():
                with put(html.div):
                    put(html.dt, key)
                    put(html.dd, action)
        with put(html.label, classes="check"):
            put(html.input_, type="checkbox", id="single-keys", checked=True)
            put(html.span, "Single keys act on the page")
        put(html.button, "Close", type="button", data_closes="keys")
