import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.drawing.contact_sheet import Tile, contact_sheet

RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def tile(colour, title="", caption="", outline=None):
    return Tile(torch.tensor(colour)[:, None, None].expand(3, 32, 32), title, caption, outline)


def sheet(groups, tmp_path, **options):
    contact_sheet(groups, tmp_path / "sheet.png", **options)
    with Image.open(tmp_path / "sheet.png") as image:
        return np.asarray(image.convert("RGB")).astype(int)


def squares(pixels, colour):
    """Where squares of a colour are: (top, left) of each, in reading order."""
    found = (np.abs(pixels - np.round(255 * np.array(colour)).astype(int)) <= 2).all(2)
    corners = found & ~np.roll(found, 1, 0) & ~np.roll(found, 1, 1)
    return sorted(zip(*np.nonzero(corners), strict=True))


def rows_of(corners):
    return [int(top) for top, _ in corners]


def test_groups_share_a_row_while_they_fit(tmp_path):
    pixels = sheet([("a", [tile(RED)] * 2), ("b", [tile(GREEN)] * 2), ("c", [tile(BLUE)] * 3)], tmp_path, columns=5)
    red, green, blue = (squares(pixels, colour) for colour in (RED, GREEN, BLUE))
    assert [len(found) for found in (red, green, blue)] == [2, 2, 3]
    assert len({*rows_of(red), *rows_of(green)}) == 1
    assert len(set(rows_of(blue))) == 1
    assert rows_of(blue)[0] > rows_of(red)[0]
    lefts = [left for _, left in red + green]
    assert lefts == sorted(lefts)
    assert len(set(np.diff(lefts).tolist())) <= 2  # evenly spaced, to a pixel
    assert [left for _, left in blue] == lefts[:3]


def test_a_long_group_begins_a_row_and_goes_on_below(tmp_path):
    pixels = sheet([("a", [tile(RED)]), ("b", [tile(GREEN)] * 5), ("c", [tile(BLUE)] * 2)], tmp_path, columns=3)
    red, green, blue = (squares(pixels, colour) for colour in (RED, GREEN, BLUE))
    tops = sorted(set(rows_of(green)))
    assert [rows_of(green).count(top) for top in tops] == [3, 2]
    assert rows_of(red)[0] < tops[0]
    assert min(rows_of(blue)) > tops[1]  # one place is left beside the long group's end, too few


def test_a_rule_above_each_group_is_as_wide_as_its_tiles(tmp_path):
    pixels = sheet([("a", [tile(RED)] * 3), ("b", [tile(GREEN)])], tmp_path)
    (top, left), *_, (_, last) = squares(pixels, RED)
    grey = (np.abs(pixels - 0x88) <= 2).all(2)
    rule = np.flatnonzero(grey[:top].sum(1) > 100)[0]
    drawn = np.flatnonzero(grey[rule])
    breaks = np.flatnonzero(np.diff(drawn) > 1)
    assert len(breaks) == 1
    side = 225  # 1.5 inches of 150 dots
    for (start, stop), (first, end) in zip(
        [(drawn[0], drawn[breaks[0]]), (drawn[breaks[0] + 1], drawn[-1])],
        [(left, last + side), (squares(pixels, GREEN)[0][1], squares(pixels, GREEN)[0][1] + side)],
        strict=True,
    ):
        assert start == pytest.approx(first, abs=4)
        assert stop == pytest.approx(end, abs=4)


def test_the_outline_is_drawn_where_the_mask_is(tmp_path):
    outline = torch.zeros(4, 4, dtype=torch.bool)
    outline[0, 3] = True
    plain, marked = (sheet([("a", [tile(RED, outline=mask)])], tmp_path) for mask in (None, outline))
    ((top, left),) = squares(plain, RED)
    changed = np.argwhere((plain != marked).any(2))
    assert len(changed)
    rows, columns = (changed - (top, left)).T
    assert (rows.min(), columns.max()) == pytest.approx((0, 224), abs=70)
    assert rows.max() < 225 * 0.32  # a quarter, and the lines around it
    assert columns.min() > 225 * 0.68


def test_texts_are_drawn_as_they_are(tmp_path):
    bare = sheet([("", [tile(RED)])], tmp_path)
    for groups in ([("$1 bill_$", [tile(RED)])], [("", [tile(RED, "$x$")])], [("", [tile(RED, caption="$y$")])]):
        assert (sheet(groups, tmp_path) != bare).any()
    long = sheet([("many words " * 5, [tile(RED)])], tmp_path)
    assert len(long) > len(bare)  # a heading wider than its tile is wrapped
    assert long.shape[1] == bare.shape[1]


def test_groups_without_tiles_are_left_out(tmp_path):
    with_empty = sheet([("x", []), ("a", [tile(RED)])], tmp_path)
    assert np.array_equal(with_empty, sheet([("a", [tile(RED)])], tmp_path))
    with pytest.raises(ValueError, match=r"^groups must hold at least one tile; got none$"):
        contact_sheet([("x", [])], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
