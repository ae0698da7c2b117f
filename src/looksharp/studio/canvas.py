"""The image to mark, as an element of the page: strokes by mouse, finger or keyboard, in pixels of the image."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable
from io import BytesIO

import numpy as np
from nicegui.element import Element
from nicegui.events import GenericEventArguments
from PIL import Image

from looksharp.marks.union import Mask
from looksharp.marks.values import mapping
from looksharp.settings import build
from looksharp.studio.layout import reporting
from looksharp.studio.strokes import Stroke

__all__ = ["MARKED", "PROPOSED", "MarkCanvas", "overlay"]

Act = Callable[[], Awaitable[None]]
Colour = tuple[int, int, int]
MARKED: Colour = (44, 123, 229)
PROPOSED: Colour = (255, 150, 20)
_FILL, _EDGE = 110, 255  # opacity, of 255
_SHORTEST, _LONGEST = 400, 1600  # pixels of an overlay's longest side


class MarkCanvas(Element, component="canvas.js"):
    """An image, with strokes to draw on it.

    Args:
        stroke: is called with the number of an image, as `show` was given it, and each stroke on it.
        undo: is called when the last one is to be taken back by Ctrl-Z.
        redo: is called when it is to be put back by Ctrl-Shift-Z.
    """

    def __init__(self, stroke: Callable[[int, Stroke], Awaitable[None]], undo: Act, redo: Act) -> None:
        super().__init__()
        self._props.update(
            {"src": "", "marks": "", "proposal": "", "image": -1, "size": [1, 1], "label": "Image", "revision": 0}
        )
        self._stroke = stroke
        self.on("stroke", self._drawn)
        for name, act in {"undo": undo, "redo": redo}.items():
            self.on(name, _answering(act), args=[])

    def show(self, image: int, address: str, size: tuple[int, int], label: str) -> None:
        """Show another image.

        Args:
            image: its number.
            address: where the image is.
            size: its (height, width).
            label: what it is called for those who do not see it.
        """
        self._props.update({"image": image, "src": address, "size": [size[1], size[0]], "label": label})
        self._props.update({"marks": "", "proposal": ""})
        self.update()

    def lay(self, marks: str, proposal: str) -> None:
        """Lay pictures of what is marked and proposed over the image; see `overlay`. Strokes are then dealt with."""
        self._props.update({"marks": marks, "proposal": proposal, "revision": self._props["revision"] + 1})
        self.update()

    async def _drawn(self, event: GenericEventArguments) -> None:
        async def deal() -> None:
            given = mapping(event.args)
            image, stroke = given.get("image"), build(Stroke, mapping(given.get("stroke")), "a stroke")
            if type(image) is not int:
                raise ValueError(f"a stroke must name its image; got {image!r:.40}")
            await self._stroke(image, stroke)

        await reporting(deal)()
        self._props["revision"] += 1  # whether it was saved or refused, it is no longer pending
        self.update()


def _answering(act: Act) -> Callable[[GenericEventArguments], Awaitable[None]]:
    handle = reporting(act)

    async def answer(_: GenericEventArguments) -> None:
        await handle()

    return answer


def overlay(mask: Mask | None, colour: Colour) -> str:
    """Return a picture of a mask (H, W), its edge opaque and its inside half so, as a data address; "" without one."""
    if mask is None or not mask.any():
        return ""
    step = -(-max(mask.shape) // _LONGEST)
    shown = mask[step // 2 :: step, step // 2 :: step]
    enlarged = max(_SHORTEST // max(shown.shape), 1)  # so that the edge of a small image's mask is thin
    shown = shown.repeat(enlarged, 0).repeat(enlarged, 1)
    padded = np.pad(shown, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    picture = Image.fromarray(np.where(shown, np.where(inner, 1, 2), 0).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *colour, *colour])
    buffer = BytesIO()
    picture.save(buffer, "PNG", transparency=bytes([0, _FILL, _EDGE]), compress_level=1)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
