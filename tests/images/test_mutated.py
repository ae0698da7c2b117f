"""Image files with a few bytes changed: read, or refused in one line; nothing else, and soon."""

import io
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from looksharp.images.headers import read_size
from looksharp.images.look import look_at
from looksharp.images.orientation import read_orientation
from looksharp.images.reading import read_image

HEADER = 400  # bytes in which the changes are
FORMATS = {
    "PNG": ("RGB", {}),
    "JPEG": ("RGB", {}),
    "GIF": ("P", {}),
    "TIFF": ("RGB", {"compression": "tiff_lzw"}),
    "WEBP": ("RGB", {}),
    "AVIF": ("RGB", {}),
    "BMP": ("RGB", {}),
    "PPM": ("RGB", {}),
    "JPEG2000": ("RGB", {}),
    "TIFF deep": ("I;16", {}),
    "PNG deep": ("I;16", {}),
    "JPEG CMYK": ("CMYK", {}),
}


@cache
def whole(kind):
    mode, options = FORMATS[kind]
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200) if mode == "I;16" else None
    content, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    turned = {} if kind.split()[0] in ("GIF", "BMP", "PPM", "JPEG2000") else {"exif": exif}
    (picture or Image.fromarray(pixels).convert(mode)).save(content, kind.split()[0], **options, **turned)
    return content.getvalue()


def refusal(function, name, content):
    """What an error says, if it is one for the user; any other is the test's failure."""
    try:
        function(name, io.BytesIO(content))
    except ValueError as error:
        return str(error)
    return None


def orientation(name, content):
    """The orientation of a file of this content; its path is not named, as in memory."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content.getvalue())
        try:
            return read_orientation(path)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), name)) from None


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged EXIF
@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=60, deadline=5000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, HEADER - 1), st.integers(0, 255)), min_size=1, max_size=4),
    kept=st.one_of(st.none(), st.integers(0, HEADER)),
)
def test_a_mutated_file_is_read_or_refused(kind, changes, kept):
    content = bytearray(whole(kind))
    for place, value in changes:
        content[place % len(content)] = value
    for function in (read_image, read_size, orientation, look_at):
        said = refusal(function, f"a.{kind}", bytes(content[:kept]))
        assert said is None or said.startswith(f"a.{kind} cannot be read as an image: ")
        assert said is None or said.isprintable()
