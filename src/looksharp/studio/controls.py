"""Native controls of forms: labelled, focusable and readable without more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from nicegui import html
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from looksharp.studio.layout import put, reporting

__all__ = ["checkbox", "press", "select", "text_field"]

Act = Callable[[str], Awaitable[None]]


def select(label: str, options: Mapping[str, str], value: str, act: Act) -> Element:
    """Put a list to choose from.

    Args:
        label: its label.
        options: value -> its text.
        value: the one that is chosen.
        act: is called with the value that a person chooses.
    """
    with put(html.label):
        put(html.span, label)
        with put(html.select) as made:
            for each, text in options.items():
                put(html.option, text, value=each, selected=each == value)
    return made.on("change", _given(act), js_handler="(event) => emit(event.target.value)")


def text_field(label: str, value: str, act: Act, *, suggested: str = "") -> Element:
    """Put a line of text; `act` gets it when a person ends it by Enter or leaves it.

    Args:
        label: its label.
        value: its text.
        act: is called with a new text.
        suggested: the id of a datalist.
    """
    with put(html.label):
        put(html.span, label)
        made = put(html.input_, type="text", value=value, autocomplete="off", list=suggested or None)
    return made.on("change", _given(act), js_handler="(event) => emit(event.target.value)")


def checkbox(label: str, value: bool, act: Callable[[bool], Awaitable[None]]) -> Element:
    """Put a box to tick."""
    with put(html.label, classes="check"):
        made = put(html.input_, type="checkbox", checked=value)
        put(html.span, label)

    async def changed(text: str) -> None:
        await act(text == "true")

    return made.on("change", _given(changed), js_handler="(event) => emit(String(event.target.checked))")


def press(text: str, act: Callable[[], Awaitable[None]], classes: str = "", **attributes: object) -> Element:
    """Put a button."""
    handle = reporting(act)

    async def pressed(_: GenericEventArguments) -> None:
        await handle()

    return put(html.button, text, classes, type="button", **attributes).on("click", pressed, args=[])


def _given(act: Act) -> Callable[[GenericEventArguments], Awaitable[None]]:
    handle = reporting(act)

    async def changed(event: GenericEventArguments) -> None:
        value = event.args[0] if isinstance(event.args, list) else event.args
        await handle(str(value))

    return changed
