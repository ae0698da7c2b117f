import pytest

from looksharp.drawing.canvas import draw_legend, new_canvas


@pytest.mark.parametrize(("name", "columns"), [("a", 4), ("balanced", 3), ("of a long name, " * 2, 1)])
def test_no_name_is_cut_off(name, columns):
    figure, axes = new_canvas(3, dark=False)
    names = [f"{name}{i}" for i in range(8)]
    draw_legend(figure, [axes.plot([0, 1], [0, i])[0] for i in range(8)], names, dark=False)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f" {name}" for name in names]
    assert legend._ncols == columns
    assert legend.get_window_extent().x1 <= figure.bbox.width
