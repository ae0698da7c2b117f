"""Charts as files."""

import time

import matplotlib as mpl
import pytest

from looksharp.drawing.canvas import new_canvas, render


@pytest.mark.parametrize("image_format", ["svg", "png"])
def test_the_same_chart_is_the_same_bytes(image_format, monkeypatch):
    """No date, no name at random: files of two runs can be compared."""

    def drawn():
        figure, axes = new_canvas(2, dark=False)
        axes.plot([0, 1, 2], [1, 0, 1], marker="o")
        return render(figure, image_format)

    salt = mpl.rcParams["svg.hashsalt"]
    first = drawn()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(time.time()) + 86_400))
    assert drawn() == first
    assert mpl.rcParams["svg.hashsalt"] == salt
