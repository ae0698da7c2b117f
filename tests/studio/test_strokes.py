import math
from itertools import pairwise

import numpy as np
import pytest

from looksharp.studio.strokes import Stroke, painted, stroke_region


def _distance(x, y, start, end):
    """Distance of a point to a line from start to end, by projection."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy)
    along = 0.0 if length == 0 else ((x - start[0]) * dx + (y - start[1]) * dy) / length
    along = min(max(along, 0.0), length)
    nearest = (start[0] + along * dx / length, start[1] + along * dy / length) if length else start
    return math.hypot(x - nearest[0], y - nearest[1])


@pytest.mark.parametrize(
    "points", [((5.2, 4.1),), ((2.0, 3.0), (12.5, 3.0), (13.0, 11.0)), ((-3.0, -2.0), (6.0, 25.0))]
)
def test_the_brush_paints_pixels_within_its_radius(points):
    mask = painted(Stroke("brush", points, 2.5), (16, 20))
    ends = list(pairwise(points)) or [(points[0], points[0])]
    for row in range(16):
        for column in range(20):
            nearest = min(_distance(column + 0.5, row + 0.5, *each) for each in ends)
            assert mask[row, column] == (nearest <= 2.5), (row, column)


def test_a_rectangle_is_cut_at_the_edge_and_may_be_drawn_from_any_corner():
    region = stroke_region(Stroke("rectangle", ((25.0, 4.0), (15.0, -3.0))), (16, 20))
    assert region["bbox"] == [15.0, 0.0, 5.0, 4.0]
    assert region["area"] == 20


def test_a_polygon_keeps_its_corners():
    region = stroke_region(Stroke("polygon", ((1.0, 1.0), (9.0, 2.0), (4.0, 8.0))), (16, 20))
    assert region["segmentation"] == [[1.0, 1.0, 9.0, 2.0, 4.0, 8.0]]
    assert region["bbox"] == [1.0, 1.0, 8.0, 7.0]


@pytest.mark.parametrize(
    ("tool", "points", "radius", "message"),
    [
        ("pen", ((1.0, 1.0),), 1.0, "tool must be"),
        ("rectangle", ((1.0, 1.0),), 0.0, "a rectangle has 2 to 20,000 points; got 1"),
        ("polygon", ((1.0, 1.0), (2.0, 2.0)), 0.0, "a polygon has 3 to"),
        ("brush", (), 1.0, "a brush has 1 to"),
        ("brush", ((1.0, 1.0),) * 20_001, 1.0, "a brush has 1 to"),
        ("brush", ((1.0, math.inf),), 1.0, "points"),
        ("brush", ((1.0, 1e7),), 1.0, "at most 1,000,000 pixels"),
        ("brush", ((1.0, 1.0),), 1e9, "at most 1,000,000 pixels"),
        ("brush", ((1.0, 1.0),), -1.0, "radius"),
        ("brush", ((1.0, "a"),), 1.0, "points"),
    ],
)
def test_a_stroke_that_no_page_sends_is_one_line(tool, points, radius, message):
    with pytest.raises(ValueError, match=message) as error:
        Stroke(tool, points, radius)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "stroke",
    [
        Stroke("rectangle", ((3.1, 3.1), (3.2, 3.2))),
        Stroke("rectangle", ((30.0, 3.0), (40.0, 9.0))),
        Stroke("brush", ((-9.0, 3.0),), 2.0),
    ],
)
def test_a_stroke_that_marks_nothing_is_refused(stroke):
    with pytest.raises(ValueError, match="holds no pixel of the image"):
        stroke_region(stroke, (16, 20))


def test_a_long_stroke_is_painted_at_once():
    points = tuple((10 + 3 * math.cos(t), 10 + 3 * math.sin(t)) for t in np.linspace(0, 6.3, 500))
    assert painted(Stroke("brush", points, 1.0), (3000, 4000)).sum() > 20
