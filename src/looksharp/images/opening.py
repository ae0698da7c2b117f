"""Open image files; an error is one line that names the file."""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

__all__ = ["UNREADABLE", "one_line", "open_image", "opened", "reason_of"]

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""Errors that PIL raises for files that are missing, damaged or no images."""

_PLUGINS = {".heic": "pillow_heif", ".heif": "pillow_heif"}  # packages that teach PIL further formats


@contextmanager
def opened(path: Path | str, content: IO[bytes] | None = None) -> Iterator[Image.Image]:
    """Open an image, whose pixels are decoded when asked for.

    Args:
        path: the file, or a name for messages.
        content: its content, if it is open already.

    Raises:
        ValueError: in one line that names the file, if it is missing, not a regular file, not an image, damaged, or has
            so many pixels that PIL takes it for a decompression bomb. Errors within the `with` are reported likewise.
    """
    try:
        with open_image(path, content) as image:
            yield image
    except UNREADABLE as error:
        raise ValueError(f"{one_line(path)} cannot be read as an image: {reason_of(error, path)}") from None


def one_line(name: Path | str) -> str:
    r"""Return a file's name without line breaks and other characters that cannot be printed.

    Example:
        >>> one_line("two\nlines.png")
        'two\\nlines.png'

    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


def open_image(path: Path | str, content: IO[bytes] | None = None) -> Image.Image:
    """Open an image without decoding it; errors are PIL's own, see `opened`.

    Raises:
        ValueError: if it is no regular file.
    """
    if content is None:
        kind = Path(path).stat().st_mode
        if not stat.S_ISREG(kind):  # a pipe would keep its reader waiting
            raise ValueError("it is a folder" if stat.S_ISDIR(kind) else "it is no regular file")
    _learn(Path(path).suffix.lower())
    image = Image.open(content or path)
    if image.format == "TIFF":  # which PIL maps into memory by its name, and mixes up where EXIF swaps the sides
        image.filename = ""
    return image


def _learn(suffix: str) -> None:
    """Register a format that PIL reads by another package, where that is installed."""
    package = _PLUGINS.get(suffix)
    if package is None or suffix in Image.registered_extensions():
        return
    try:
        import_module(package).register_heif_opener()
    except ImportError:
        return


def reason_of(error: BaseException, path: Path | str) -> str:
    """Return in one line why an image could not be opened or decoded."""
    match error:
        case UnidentifiedImageError():
            needed = _PLUGINS.get(Path(path).suffix.lower())
            mend = f" without {needed.replace('_', '-')}: pip install it" if needed else ""
            return f"cannot identify its format{mend}"
        case MemoryError():
            return "its pixels do not fit in memory"
        case Image.DecompressionBombError() | Image.DecompressionBombWarning():
            pixels = re.search(r"\d+", str(error))
            return f"it has {pixels[0] if pixels else 'more'} pixels, which exceeds what is safe to decode"
        case OSError(strerror=str(reason)) if reason:
            return reason
    said = one_line((str(error).splitlines() or [""])[0])
    return said or type(error).__name__
