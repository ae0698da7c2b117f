"""Marks drawn in a browser, a training of them, and kills in the middle of both."""

import shutil
import time

import numpy as np
import pytest

from looksharp.data.mark_names import mark_sizes
from looksharp.data.sets.synthetic import biased_digits
from looksharp.marks.union import box_mask
from looksharp.studio.jobs import Jobs
from looksharp.studio.mark_store import MarkStore
from looksharp.studio.strokes import Stroke
from looksharp.training.history import read_history

SIDE = 48  # pixels of an image


@pytest.fixture
def run(small_run, tmp_path):
    """A run of this test alone."""
    return shutil.copytree(small_run, tmp_path / "run")


@pytest.fixture
def store(run):
    data = biased_digits(1.0, 160, 40, 80, seed=0)
    return MarkStore(run / "studio" / "marks.json", mark_sizes(data.splits["train"]), data.classes)


class _Canvas:
    """Draws in pixels of the image that a page shows."""

    def __init__(self, page, zoom=1.0):
        self.page, self.zoom = page, zoom

    def at(self, x, y):
        box = self.page.locator("canvas").bounding_box()
        scale = min(box["width"], box["height"]) / SIDE * self.zoom
        return box["x"] + box["width"] / 2 + (x - SIDE / 2) * scale, box["y"] + box["height"] / 2 + (
            y - SIDE / 2
        ) * scale

    def drag(self, *points):
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=3)
        self.page.mouse.up()

    def click(self, x, y):
        self.page.mouse.click(*self.at(x, y))


def _said(page, text):
    page.get_by_text(text).wait_for()


def _name(page):
    return page.locator(".said").inner_text().partition(": ")[2].partition(". ")[0]


def _settled(page):
    """What is proposed comes last, and moves what stands below it."""
    page.get_by_text("Proposed: where").or_(page.get_by_text("No evidence for")).wait_for()


def _next(page):
    before = _name(page)
    page.keyboard.press("n")
    page.wait_for_function("name => !document.querySelector('.said').innerText.includes(name)", arg=before)
    _settled(page)


def _open(visit, address, page, width=1280):
    return visit(address.replace("/?", f"/{page}?"), width)


def _until(found):
    end = time.monotonic() + 480
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return value


def test_what_is_drawn_by_mouse_and_keyboard_is_what_training_reads(run, store, serving, visit, serious):
    with serving(run) as (_, address):
        page = _open(visit, address, "mark")
        _said(page, "Proposed: where the network reads")
        canvas = _Canvas(page)
        first = _name(page)

        canvas.drag((10, 8), (20, 30), (34, 40))
        _said(page, "Rectangle saved as")
        ((label, mask),) = store.masks(first).items()
        np.testing.assert_array_equal(mask, box_mask((10, 8, 34, 40), (SIDE, SIDE)))
        page.keyboard.press("u")
        _said(page, "Taken back: rectangle")
        assert store.masks(first) == {}
        page.get_by_role("application").focus()
        page.keyboard.press("Control+Shift+Z")
        _said(page, "Put back: rectangle")
        np.testing.assert_array_equal(store.masks(first)[label], mask)
        page.keyboard.press("Control+z")
        _said(page, "Taken back: rectangle")

        page.keyboard.press("+")
        _Canvas(page, 1.25).drag((12, 10), (30, 33))  # at the right place when zoomed, too
        _said(page, "Rectangle saved as")
        np.testing.assert_array_equal(store.masks(first)[label], box_mask((12, 10, 30, 33), (SIDE, SIDE)))
        page.keyboard.press("0")

        _next(page)
        second = _name(page)
        page.keyboard.press("g")
        for corner in ((8, 8), (40, 8), (24, 40)):
            canvas.click(*corner)
        page.keyboard.press("Enter")
        _said(page, "Polygon saved as")
        assert abs(sum(m.sum() for m in store.masks(second).values()) - 32 * 32 / 2) < 40

        _next(page)
        page.keyboard.press("d")
        canvas.drag((10, 24), (38, 24))
        _said(page, "Brush saved as")
        expected = Stroke("brush", ((10.0, 24.0), (38.0, 24.0)), SIDE / 24)
        (mask,) = store.masks(_name(page)).values()
        assert mask[23:25, 10:38].all()
        assert mask.sum() == pytest.approx(28 * 2 * expected.radius + np.pi * expected.radius**2, rel=0.1)

        _next(page)
        fourth = _name(page)
        page.keyboard.press("s")
        _said(page, "Proposed: evidence above 60%")
        page.keyboard.press("a")
        _said(page, "The proposal is a mark of")
        (mask,) = store.masks(fourth).values()
        assert 0 < mask.sum() < SIDE * SIDE

        _next(page)
        fifth = _name(page)
        page.keyboard.press("r")
        _said(page, "The proposal is refused")
        page.keyboard.press("b")
        page.get_by_role("application").focus()
        page.keyboard.press("Space")
        for key, times in {"Shift+ArrowRight": 7, "Shift+ArrowDown": 5}.items():
            for _ in range(times):
                page.keyboard.press(key)
        page.keyboard.press("Space")
        _said(page, "Rectangle saved as")
        (mask,) = store.masks(fifth).values()
        np.testing.assert_array_equal(mask, box_mask((24, 24, 31, 29), (SIDE, SIDE)))

        other = next(name for name in store.images if name not in store.marked())
        store.add(other, store.classes[0], Stroke("rectangle", ((0.0, 0.0), (9.0, 9.0))))  # by another process
        _said(page, "6 images are marked")
        assert serious(page) == []
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert serious(page) == []
        page.context.close()


def _marks_drawn(visit, address, store, count):
    """Draw a box on each of some images; return their names."""
    page = _open(visit, address, "mark")
    _said(page, "Not marked yet")
    _settled(page)
    names = []
    for number in range(count):
        if number:
            _next(page)
        names.append(_name(page))
        _Canvas(page).drag((10, 10), (38, 38))
        _said(page, "Rectangle saved as")
    page.context.close()
    return names


def test_kills_in_the_middle_of_marking_and_training_lose_nothing(run, store, serving, visit, serious):
    with serving(run) as (process, address):
        names = _marks_drawn(visit, address, store, 4)
        process.kill()
    assert store.marked() == set(names)
    jobs = Jobs(run / "studio" / "jobs")
    metrics = run / "studio" / "jobs" / "1" / "out" / "runs" / "cure" / "metrics.csv"
    with serving(run) as (process, address):
        page = _open(visit, address, "retrain")
        _said(page, "There are 4 marked training images")
        page.get_by_label("Epochs").fill("8")
        page.get_by_label("Epochs").press("Enter")
        _said(page, "by what an epoch of this run took")
        page.locator("#method-marks").check()
        page.get_by_role("button", name="Start training").click()
        _until(lambda: read_history(metrics) and metrics.with_name("checkpoints").joinpath("last.ckpt").is_file())
        page.get_by_role("button", name="Cancel training 1").click()
        _said(page, "Cancelled.")
        page.get_by_role("img", name="Loss over epochs").wait_for()
        before = read_history(metrics)
        assert serious(page) == []
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.get_by_role("button", name="Resume training 1").click()
        _until(lambda: jobs[1].status == "running")
        page.context.close()
        process.kill()
    _until(lambda: jobs[1].status in ("finished", "failed"))  # it goes on, from where it was, without the page
    assert jobs[1].status == "finished", jobs[1].log
    history = read_history(metrics)
    assert (len(history), history[0]) == (8, before[0])
    # The epoch that it was cancelled in, which has no checkpoint yet, is trained again, to the same values.
    assert [row | {"seconds": 0} for row in history[: len(before)]] == [row | {"seconds": 0} for row in before]
    assert (run / "studio" / "jobs" / "1" / "out" / "report.html").is_file()
    assert store.marked() == set(names)
