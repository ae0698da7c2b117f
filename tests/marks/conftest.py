import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def draw():
    """Writes a plain image of (height, width) and its folders."""

    def write(path, size=(6, 8), mode="RGB", value=99, format=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, value, np.uint8)).convert(mode).save(path, format)

    return write
