import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from io import BytesIO

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from looksharp.drawing.charts import bars, curves, run_colors
from looksharp.drawing.figures import attention_grid, picture
from looksharp.drawing.overlay import common_scale, draw_outline, draw_panel, overlay, scale_colors
from looksharp.drawing.panel import Panel


def _image(height=48, width=48, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def _corner(size=6):
    hot = torch.zeros(size, size)
    hot[0, 0] = 2.5
    return hot


def _decoded(png):
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn on axes: name of the method -> first arguments of its calls, in order."""
    calls = {}

    def recorded(name, original):
        def method(self, *args, **kwargs):
            calls.setdefault(name, []).append(args)
            return original(self, *args, **kwargs)

        return method

    for name in ("imshow", "text", "barh", "plot", "axvline", "set_title"):
        monkeypatch.setattr(Axes, name, recorded(name, getattr(Axes, name)))
    return calls


class TestOverlay:
    def test_hot_corner_is_coloured_and_the_rest_is_the_image(self):
        image = _image()
        shown, plain = overlay(image, _corner()), picture(image)
        hottest = 255 * np.array(matplotlib.colormaps["inferno"](0.92)[:3])
        assert np.abs(shown[0, 0] - (0.15 * plain[0, 0] + 0.85 * hottest)).max() < 1
        assert np.array_equal(shown[48:], plain[48:])  # beyond the bilinear reach of the first of six cells
        assert np.array_equal(shown[:, 48:], plain[:, 48:])

    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 0.5)])
    def test_every_pixel_is_blended_by_its_own_attention(self, low, high):
        image = _image(96, 192)
        attention = low + (high - low) * torch.rand(96, 192, generator=torch.Generator().manual_seed(1))
        shown, peak = overlay(image, attention), attention.abs().max().item()
        for row, column in [(0, 0), (17, 101), (95, 191), (40, 3)]:
            share = attention[row, column].item() / peak
            name, place = ("coolwarm", 0.5 + share / 2) if low < 0 else ("inferno", 0.25 + 0.67 * share)
            under = image[:, row, column].numpy()
            over = np.array(matplotlib.colormaps[name](place)[:3])
            opacity = 0.85 * abs(share)
            expected = 255 * ((1 - opacity) * under + opacity * over)
            assert np.abs(shown[row, column] - expected).max() < 1.5

    def test_attention_is_resized_bilinearly(self):
        # Two cells over four pixels, centres at 0.5 and 2.5 pixels: 0, 1/4, 3/4, 1.
        grey = torch.full((3, 192, 192), 0.5)
        shown = overlay(grey, torch.tensor([[0.0, 1.0]]))
        scale = 255 * scale_colors(False, 385)
        for column in (10, 60, 96, 130, 180):
            share = min(max((column + 0.5) / 96 - 0.5, 0), 1)
            assert np.abs(shown[0, column] - scale[round(384 * share)]).max() < 2

    def test_zero_map_leaves_the_image_in_grey(self):
        image = _image()
        shown = overlay(image, torch.zeros(6, 6)).astype(int)
        luma = 255 * np.tensordot([0.299, 0.587, 0.114], image.numpy(), 1)
        assert np.abs(shown[::4, ::4] - luma[..., None]).max() <= 0.51
        assert np.array_equal(shown[..., 0], shown[..., 1])
        assert np.array_equal(overlay(image, torch.zeros(6, 6), peak=3.0), shown)

    def test_evidence_for_is_red_and_against_is_blue(self):
        attention = torch.tensor([[3.0, 0.0, -3.0]])
        shown = overlay(torch.full((3, 192, 192), 0.5), attention).astype(int)
        red, blue = shown[0, 0], shown[0, -1]
        assert red[0] - red[2] > 100
        assert blue[2] - blue[0] > 100
        assert np.abs(shown[0, 96] - 128).max() <= 2  # zero is nothing, whatever lies on either side

    def test_signed_scale_can_be_asked_of_a_map_without_negatives(self):
        image, hot = _image(), _corner()
        with_negative = hot.clone()
        with_negative[-1, -1] = -1e-9
        assert np.array_equal(overlay(image, hot, signed=True), overlay(image, with_negative))
        assert not np.array_equal(overlay(image, hot, signed=True), overlay(image, hot))

    def test_peak_makes_maps_comparable(self):
        image, hot = _image(), _corner()
        assert np.array_equal(overlay(image, hot), overlay(image, 7 * hot, peak=17.5))
        strengths = [np.abs(overlay(image, hot, peak=peak).astype(int) - picture(image)).sum() for peak in (2.5, 5, 20)]
        assert strengths[0] > strengths[1] > strengths[2] > 0
        assert np.array_equal(overlay(image, hot, peak=0.01)[0, 0], overlay(image, hot)[0, 0])  # clipped

    @pytest.mark.parametrize(
        ("size", "expected"), [((48, 48), 192), ((32, 20), 192), ((100, 60), 100), ((224, 300), 224)]
    )
    def test_small_images_are_enlarged_by_a_whole_factor(self, size, expected):
        factor = expected // size[0]
        shown = picture(_image(*size))
        assert shown.shape == (size[0] * factor, size[1] * factor, 3)
        assert shown.dtype == np.uint8
        assert np.array_equal(shown[::factor, ::factor], shown[factor - 1 :: factor, factor - 1 :: factor])

    def test_takes_any_floating_type_and_graph(self):
        attention = (_corner().bfloat16()).requires_grad_()
        assert np.array_equal(overlay(_image().double(), attention), overlay(_image(), _corner()))

    @pytest.mark.parametrize(
        ("image", "attention", "peak", "message"),
        [
            (torch.rand(1, 8, 8), torch.ones(2, 2), None, r"image must be of shape \(3, H, W\); got \(1, 8, 8\)"),
            (torch.full((3, 8, 8), 2.1), torch.ones(2, 2), None, "got 2.1 to 2.1: undo its normalisation"),
            (torch.zeros(3, 8, 8, dtype=torch.uint8), torch.ones(2, 2), None, "got torch.uint8: divide by 255"),
            (torch.rand(3, 8, 8), torch.ones(1, 2, 2), None, r"one map \(h, w\); got shape \(1, 2, 2\)"),
            (torch.rand(3, 8, 8), torch.tensor([[torch.nan]]), None, "attention must be finite"),
            (torch.rand(3, 8, 8), torch.ones(2, 2), 0.0, "peak must be positive and finite; got 0.0"),
            (torch.rand(3, 8, 8), torch.ones(2, 2), float("nan"), "peak must be positive and finite; got nan"),
        ],
    )
    def test_refuses(self, image, attention, peak, message):
        with pytest.raises(ValueError, match=message):
            overlay(image, attention, peak)


class TestOutline:
    def test_lines_lie_around_the_mask(self):
        pixels = np.full((192, 192, 3), 77, np.uint8)
        mask = torch.zeros(48, 48, dtype=torch.bool)
        mask[10:20, 10:30] = True  # 40:80 and 40:120 of the picture
        shown = draw_outline(pixels, mask)
        assert (shown[40:80, 40:120] == 77).all()
        expected = np.full((192, 192, 3), 77, np.uint8)
        expected[37:83, 37:123], expected[38:82, 38:122], expected[40:80, 40:120] = 0, 255, 77
        assert np.array_equal(shown, expected)
        assert (pixels == 77).all()

    def test_empty_mask_draws_nothing(self):
        pixels = picture(_image())
        assert np.array_equal(draw_outline(pixels, torch.zeros(48, 48)), pixels)


class TestPanels:
    @pytest.mark.parametrize(
        ("attention", "remark"),
        [
            (None, "no map"),
            (torch.tensor([[1.0, torch.inf]]), "not a number"),
            (torch.zeros(2, 2), "no evidence"),
            (torch.tensor([[0.0, -1.0]]), ""),
        ],
    )
    def test_remark(self, attention, remark):
        panel = Panel("a", attention)
        assert panel.remark == remark
        shown = draw_panel(_image(), panel, 1.0, True)
        assert np.array_equal(shown, picture(_image(), grey=True)) == bool(remark)

    def test_common_scale(self):
        maps = [torch.tensor([[1.0, 2.0]]), torch.tensor([[torch.nan, 9.0]]), torch.tensor([[-3.0]]), None]
        panels = [Panel("", m) for m in maps]
        assert common_scale(panels) == (3.0, True)
        assert common_scale(panels[:2]) == (2.0, False)
        assert common_scale(panels[1:2]) == (0.0, False)


class TestAttentionGrid:
    def test_size_and_file(self, tmp_path):
        rows = [(_image(), [Panel("a", _corner()), Panel("b", _corner() / 2)]), (_image(24, 48), [])]
        content = attention_grid(rows)
        height, width, _ = _decoded(content).shape
        assert width == round(150 * (1.7 * 3 + 0.8))
        assert height == int(150 * ((1.7 + 2 * 0.17) + (0.85 + 0.17)))
        path = tmp_path / "new" / "grid.png"
        assert attention_grid(rows, path) is None
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]

    def test_a_row_shares_its_scale_and_rows_do_not(self, drawn):
        one, two = _corner(), torch.rand(4, 4) * 0.1
        attention_grid([(_image(), [Panel("", one), Panel("", two)]), (_image(), [Panel("", two)])])
        pictures = [pixels for (pixels,) in drawn["imshow"] if pixels.shape == (192, 192, 3)]
        expected = [
            picture(_image()),
            overlay(_image(), one),
            overlay(_image(), two, peak=2.5),
            picture(_image()),
            overlay(_image(), two),
        ]
        assert all(np.array_equal(a, b) for a, b in zip(pictures, expected, strict=True))

    def test_a_row_with_one_signed_map_is_signed_throughout(self, drawn):
        attention_grid([(_image(), [Panel("", _corner()), Panel("", -_corner())])])
        assert np.array_equal(drawn["imshow"][1][0], overlay(_image(), _corner(), signed=True))

    def test_outline_on_every_picture_of_its_row(self, drawn):
        mask = torch.zeros(48, 48)
        mask[8:16, 8:16] = 1
        rows = [(_image(), [Panel("", _corner())]), (_image(), [Panel("", _corner())])]
        attention_grid(rows, outlines=[mask, None])
        pictures = [pixels for (pixels,) in drawn["imshow"] if pixels.shape == (192, 192, 3)]
        plain = [picture(_image()), overlay(_image(), _corner())]
        expected = [draw_outline(pixels, mask) for pixels in plain] + plain
        assert all(np.array_equal(a, b) for a, b in zip(pictures, expected, strict=True))

    def test_emphasis_is_a_red_frame(self):
        def reds(emphasis):
            panel = Panel("a", torch.zeros(2, 2), emphasis=emphasis)
            return (_decoded(attention_grid([(_image(), [panel])])) == (0xD6, 0x00, 0x1C)).all(-1).sum()

        assert reds(True) > 4 * 200
        assert reds(False) == 0

    def test_says_why_a_panel_is_grey(self, drawn):
        panels = [Panel("a", torch.zeros(2, 2)), Panel("b", None), Panel("c", torch.tensor([[torch.nan]]))]
        attention_grid([(_image(), panels)])
        assert [args[2] for args in drawn["text"]] == ["no evidence", "no map", "not a number"]

    def test_titles_are_taken_as_they_are(self, drawn):
        attention_grid([(_image(), [Panel("$1_bill^$ {x", _corner(), caption="$\\frac$")])], titles=["a_$b$"])
        assert [title for (title,) in drawn["set_title"]] == ["a_$b$", "$1_bill^$ {x"]

    @pytest.mark.parametrize(
        ("rows", "others", "message"),
        [
            ([], {}, "rows must hold at least one image; got none"),
            ([(torch.rand(3, 8, 8), [])], {"outlines": []}, "outlines must be one to a row, 1; got 0"),
            ([(torch.rand(3, 8, 8), [])], {"titles": ["a", "b"]}, "titles must be one to a row, 1; got 2"),
        ],
    )
    def test_refuses(self, rows, others, message):
        with pytest.raises(ValueError, match=message):
            attention_grid(rows, **others)

    def test_an_earlier_file_survives_a_failure(self, tmp_path):
        path = tmp_path / "grid.png"
        path.write_bytes(b"earlier")
        with pytest.raises(ValueError, match="undo its normalisation"):
            attention_grid([(_image(), [Panel("a", _corner())]), (-_image(), [])], path)
        assert path.read_bytes() == b"earlier"
        assert list(tmp_path.iterdir()) == [path]


class TestCharts:
    def test_curves_as_png_and_svg(self):
        series = {"plain": ([1, 2, 3], [0.1, 0.5, 0.9]), "_own $name": ([1, 2], [0.2, 0.4])}
        png = curves(series, ylabel="Accuracy of $all", percent=True, image_format="png")
        assert Image.open(BytesIO(png)).size == (1000, 600)
        assert ElementTree.fromstring(curves(series, ylabel="Loss", dark=True)).tag.endswith("svg")

    def test_curves_leave_out_what_is_not_finite(self, drawn):
        curves({"a": ([1, 2, 3, 4], [1.0, float("nan"), float("inf"), 0.5]), "b": ([], [])}, ylabel="")
        assert [args[:2] for args in drawn["plot"]] == [([1, 4], [1.0, 0.5]), ([], [])]

    def test_a_run_keeps_its_style_where_another_is_missing(self, drawn):
        colors = run_colors(["plain", "ICASC"])
        series = {name: ([1, 2], [0.5, 0.6]) for name in colors}
        curves(series, ylabel="", colors=colors)
        curves({"ICASC": series["ICASC"]}, ylabel="", colors=colors)
        styles = [args[2] for args in drawn["plot"]]
        assert styles[0] != styles[1] == styles[2]

    def test_curves_refuse_uneven_lengths(self):
        with pytest.raises(ValueError, match="series must pair x with y; 'a' has 2 and 1 values"):
            curves({"a": ([1, 2], [0.5])}, ylabel="")

    def test_bars_show_each_value_and_chance(self, drawn):
        values = {"plain": {"one": 0.25, "two": 0.5}, "ICASC": {"one": 0.75, "two": float("nan")}, "GAIN": {}}
        png = bars(values, chance=0.1, image_format="png")
        assert Image.open(BytesIO(png)).size[0] == 1000
        assert [width for _, width in drawn["barh"]] == [0.25, 0.75, 0, 0.5, 0, 0]
        texts = [args[2] for args in drawn["text"]]
        assert texts == ["one", "25.0%", "75.0%", "–", "two", "50.0%", "–", "–", " guessing, 10.0%"]
        assert drawn["axvline"] == [(0.1,)]

    def test_bars_refuse_nothing(self):
        with pytest.raises(ValueError, match="accuracies must hold at least one run with one split"):
            bars({"plain": {}})

    def test_run_colors_are_told_apart(self):
        names = ["plain", "ICASC", "GAIN", "GAIN_ext", "ABN", "WARN"]
        for dark in (False, True):
            assert len(set(run_colors(names, dark=dark).values())) == len(names)
        assert list(run_colors(str(i) for i in range(30))) == [str(i) for i in range(30)]


def test_importing_looksharp_draws_in_nothing_that_draws():
    code = "import sys, looksharp; sys.exit(any(m in sys.modules for m in ('matplotlib', 'looksharp.drawing')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
