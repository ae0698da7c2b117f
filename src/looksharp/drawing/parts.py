"""Pictures and charts as parts of a page that holds all it shows."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic_core import to_jsonable_python
from torch import Tensor
from torch.nn import functional as F

from looksharp.drawing.overlay import draw_outline, scale_colors
from looksharp.drawing.panel import Panel

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Chart", "Picture", "data_uri", "draw_chart", "embed", "environment", "gradient", "plain", "shrink"]

_LARGEST = 256  # pixels a side of a picture on the page


@dataclass(frozen=True)
class Picture:
    """A picture of a page: its content, a description, its size and the map drawn on it."""

    source: str
    alt: str
    width: int
    height: int
    panel: Panel | None = None


@dataclass(frozen=True)
class Chart:
    """A chart of a page, as SVG for a light page and for a dark one, and what it shows in words."""

    title: str
    alt: str
    on_light: bytes
    on_dark: bytes

    @property
    def light(self) -> str:
        """Return its address on a light page."""
        return data_uri(self.on_light, "image/svg+xml")

    @property
    def dark(self) -> str:
        """Return its address on a dark page."""
        return data_uri(self.on_dark, "image/svg+xml")


def draw_chart(title: str, alt: str, draw: Callable[[bool], bytes]) -> Chart:
    """Draw a chart as SVG twice with `draw`: for a light page (False) and a dark one (True)."""
    return Chart(title, alt, draw(False), draw(True))


def environment() -> Environment:
    """Find the pages' templates in `folders`; their content is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("looksharp", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def shrink(image: Tensor) -> Tensor:
    """Shrink an image (3, H, W) to the size that the page shows."""
    largest = max(image.shape[-2:])
    if largest <= _LARGEST or image.ndim != 3 or not image.is_floating_point():
        return image
    size = [max(round(side * _LARGEST / largest), 1) for side in image.shape[1:]]
    return F.interpolate(image.detach().cpu().float()[None], size, mode="bilinear", antialias=True)[0]


def embed(pixels: npt.NDArray[np.uint8], outline: Tensor | None, alt: str, panel: Panel | None = None) -> Picture:
    """Embed pixels (H, W, 3) as a picture, its object outlined if there is one."""
    from PIL import Image

    if outline is not None:
        pixels = draw_outline(pixels, outline)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=90, method=6)
    return Picture(data_uri(buffer.getvalue(), "image/webp"), alt, pixels.shape[1], pixels.shape[0], panel)


def data_uri(content: bytes, kind: str) -> str:
    """Write a file's content as a data: address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def gradient(signed: bool) -> str:
    """Write a colour scale as a CSS gradient."""
    colors = (scale_colors(signed, 17) * 255).round().astype(int)
    return "linear-gradient(to right, " + ", ".join("rgb({} {} {})".format(*c) for c in colors) + ")"


def plain(value: object) -> Any:
    """Convert to values that JSON has: None for what is not finite, float for numbers of numpy or torch."""
    return to_jsonable_python(value, inf_nan_mode="null", fallback=float)
