"""Buttons that turn the pages of a list of images; they stay in place, so that the focus does too."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import html
from nicegui.element import Element

from looksharp.studio.controls import press
from looksharp.studio.layout import put, write

__all__ = ["Paging"]


class Paging:
    """The page of a list that is shown, and the way to the next one.

    Args:
        shown: number of images of a page.
        turned: draws the images anew; it calls `tell`.

    Attributes:
        first: place in the list of the first image that is shown.
    """

    def __init__(self, shown: int, turned: Callable[[], None]) -> None:
        self.shown, self.first, self._turned = shown, 0, turned

    def build(self) -> None:
        """Put the buttons on the page."""
        with put(html.div, classes="pages"):
            self._before = self._button("Previous", "p", -self.shown)
            self._after = self._button("Next", "n", self.shown)
            self._said = put(html.p, role="status")

    def tell(self, count: int) -> None:
        """Say which of a number of images are shown."""
        last = min(self.first + self.shown, count)
        self._before.props.set_bool("disabled", self.first == 0)
        self._after.props.set_bool("disabled", last == count)
        some = f"{self.first + 1:,} to {last:,} of {count:,} images"
        write(self._said, some if last > self.first else "No image is like that.")

    def _button(self, text: str, key: str, by: int) -> Element:
        async def act() -> None:
            self.first = max(self.first + by, 0)
            self._turned()

        return press(text, act, data_key=key)
