"""The studio in Chromium: what a person sees and does, for whom it can be used, and whom it keeps out."""

import http.client
import re
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from looksharp import cli
from looksharp.data.build import DataConfig
from looksharp.training import train
from looksharp.training.settings import RunConfig, TrainingConfig

PAGES = ("look", "find", "mark", "retrain", "prove")
JOB = 240_000  # ms that a search or a training may take
NASTY = "<img src=x onerror=window.hit=1>"


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A run of the command line, begun in an empty folder: plain training on digits with a cue."""
    folder = tmp_path_factory.mktemp("story")
    digits = "--data biased_digits --biased_digits.train 240 --biased_digits.val 40 --biased_digits.test 40"
    flags = f"{digits} --biased_digits.rho 1.0 --epochs 14 --batch_size 8 --lr 0.05 --workers 0 --device cpu"
    assert cli.main(["train", *flags.split(), "--out", str(folder / "plain")]) == 0
    return folder / "plain"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """What the browser that the studio starts is asked to open: a file, beside the program that writes it."""
    folder = tmp_path_factory.mktemp("browser")
    program = folder / "program"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {folder}/part && mv {folder}/part {folder}/address\n')
    program.chmod(0o700)
    return folder / "address"


@pytest.fixture(scope="module")
def studio(story, serving, opened):
    with serving(story, browser=opened.with_name("program")) as (_, address):
        yield address


def other_page(address, name):
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"


def loaded(page):
    """Wait until the page is whole."""
    page.wait_for_selector("#main:not([aria-busy])")
    return page


def test_look_in_the_browser_that_is_started(studio, opened, visit, serious):
    until = time.monotonic() + 60
    while not opened.is_file() and time.monotonic() < until:
        time.sleep(0.1)
    address = opened.read_text()
    assert urlsplit(address)[:3] == urlsplit(studio)[:3]
    page = visit(address)
    assert asked(urlsplit(address), f"/?{urlsplit(address).query}") == 403  # it opens the page once
    page.wait_for_selector("text=right of 40 images of biased")
    page.select_option("label:has-text('Split') select", "conflicting")
    page.wait_for_selector("text=right of 40 images of conflicting")
    page.select_option("label:has-text('Answer is') select", "wrong")
    page.wait_for_function("document.querySelectorAll('.cell:not(.wrong)').length == 0")
    page.locator(".cell").first.click()
    page.wait_for_selector(".laid .over")
    assert page.locator(".true .laid").count() == 1  # the true class is framed
    first = page.inner_text("#image")
    page.keyboard.press("j")
    page.wait_for_function("(first) => document.getElementById('image').innerText != first", arg=first)
    page.wait_for_selector(".laid .over")
    page.locator("input[type=range]").fill("30")
    assert page.evaluate("getComputedStyle(document.querySelector('.laid .over')).opacity") == "0.3"
    page.fill("label:has-text('Layer') input", "nowhere")
    page.keyboard.press("Tab")
    page.wait_for_selector("[role=alert]:has-text('nowhere')")
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.wait_for_selector("#image", state="hidden")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_on_a_phone(studio, visit, serious, name):
    page = loaded(visit(other_page(studio, name), width=400))
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert serious(page) == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
    page.keyboard.press("?")
    assert page.evaluate("document.getElementById('keys').open")


def test_from_ticks_to_the_proof(studio, story, visit, serious):
    page = loaded(visit(other_page(studio, "find")))
    page.click("button:has-text('Find groups')")
    page.wait_for_selector(".card:last-child .row img", timeout=JOB)
    assert serious(page) == []
    cards = page.locator(".card:has-text('The answer follows the piece')").all()
    cards = [card for card in cards if float(re.search(r"it decides ([\d.]+)% elsewhere", card.inner_text())[1]) >= 50]
    for card in cards:
        card.locator("label:has-text('Shortcut')").click()
    ticked = len(cards)
    page.locator(".card").first.locator("text=Paste it onto another image").click()
    page.wait_for_selector("figcaption:has-text('the piece pasted onto it')")
    page.wait_for_selector(f"text=Ticked: {ticked} as a shortcut, 0 as the object")
    page.reload()
    page.wait_for_selector(f"text=Ticked: {ticked} as a shortcut, 0 as the object")  # they are kept
    _cue_order(loaded(visit(other_page(studio, "look"))))

    page.click("text=Retrain with them")
    page.check("#method-ticks")
    page.fill("label:has-text('Epochs') input", "1")
    page.click("button:has-text('Start training')")
    page.wait_for_selector("a:has-text('See the proof')", timeout=JOB)
    assert (story / "studio" / "jobs" / "2" / "out" / "report.html").is_file()
    page.click("a:has-text('See the proof')")
    page.frame_locator("iframe.report").locator("h1:has-text('is the shortcut gone?')").wait_for()
    _prove(loaded(page))
    assert serious(page) == []


def _cue_order(page):
    """Images are ordered by the share of their evidence on the ticked pieces, and the filter keeps the focus."""
    page.select_option("label:has-text('Split') select", "train")
    page.wait_for_selector("text=images of train")
    order = page.locator("label:has-text('Order') select")
    order.focus()
    order.select_option("cue")
    page.wait_for_selector("text=% on a cue")
    page.wait_for_selector("text=/measured for ([\\d,]+) of \\1 pieces\\.$/")
    assert order.evaluate("element => element == document.activeElement")
    page.wait_for_function(SORTED)


SORTED = """() => {
  const shown = document.querySelector('.grid').innerText;
  const shares = [...shown.matchAll(/([\\d.]+)% on a cue/g)].map((found) => Number(found[1]));
  return shares.length > 5 && shares.every((share, place) => !place || share <= shares[place - 1]);
}"""


ALL_SHOWN = "[...document.querySelectorAll('.cell img')].every((image) => image.naturalWidth > 0)"


def _prove(page):
    """Put an object elsewhere by the mouse, move it, then do so by the keyboard alone."""
    page.locator(".cell").nth(0).drag_to(page.locator(".cell").nth(5))
    shown = page.locator(".movable img").first
    shown.wait_for()
    answers = page.locator(".tried figure:nth-child(2) b").all_inner_texts()
    assert [each.rpartition(": ")[0] for each in answers] == ["plain", "training-2: cure"]
    assert [page.locator(".cell").nth(place).get_attribute("aria-pressed") for place in (0, 1, 5)] == [
        "true",
        "false",
        "true",
    ]
    changed = "(src) => document.querySelector('.movable img').getAttribute('src') != src"
    before, box = shown.get_attribute("src"), page.locator(".movable").bounding_box()
    page.mouse.move(box["x"] + 90, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 100, steps=3)
    assert page.locator(".movable .over").evaluate("element => getComputedStyle(element).opacity") == "0.8"
    page.mouse.up()
    page.wait_for_function(changed, arg=before)
    before = shown.get_attribute("src")
    page.get_by_role("button", name="Left").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(changed, arg=before)
    before = shown.get_attribute("src")
    page.keyboard.press("Enter")  # the button has kept the focus
    page.wait_for_function(changed, arg=before)

    cells = page.locator(".cell")
    cells.nth(2).focus()
    page.keyboard.press("Enter")
    cells.nth(2).locator("b:has-text('the object')").wait_for()
    page.keyboard.press("Tab")  # on to the next image
    page.keyboard.press("Enter")
    cells.nth(3).locator("b:has-text('the surroundings')").wait_for()
    name = cells.nth(3).get_attribute("title")
    page.locator(f".tried figcaption:has-text('In the surroundings of {name},')").wait_for()


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory):
    """A run of an image folder in which a class and a file have names that are HTML."""
    folder = tmp_path_factory.mktemp("folder")
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for place, name in enumerate(("plain", NASTY)):
            (folder / "images" / split / name).mkdir(parents=True)
            for number in range(4):
                pixels = rng.integers(100 * place, 100 + 100 * place, (40, 60, 3), dtype=np.uint8)
                file = f'"><b onclick=alert(1)>{number}.png'
                Image.fromarray(pixels).save(folder / "images" / split / name / file)
    (folder / "secret").write_text("kept from others")
    training = TrainingConfig(epochs=1, batch_size=4, device="cpu", workers=0)
    train(RunConfig(data=DataConfig(str(folder / "images"), image_size=32), training=training), folder / "run")
    return folder / "run"


def test_names_are_escaped_thumbnails_are_kept_and_nobody_else_is_served(folder_run, serving, visit):
    with serving(folder_run) as (_, address):
        page = visit(address)
        page.wait_for_selector("text=right of 8 images of test")
        page.wait_for_function(ALL_SHOWN)
        page.locator(".cell").nth(4).click()
        page.wait_for_selector(".laid")
        shown = page.inner_text("body")
        assert NASTY in shown
        assert '"><b onclick=alert(1)>' in shown
        assert page.evaluate("window.hit") is None
        assert page.locator("#main b[onclick], #main img[onerror]").count() == 0
        kept = list((folder_run / "studio" / "thumbnails").rglob("*.webp"))
        assert len(kept) == 8
        for path in kept:
            with Image.open(path) as thumbnail:
                assert thumbnail.size == (60, 40)

        parts = urlsplit(address)
        token = parts.query.removeprefix("token=")
        cookie = {"Cookie": f"looksharp-{parts.port}={token}"}
        assert asked(parts, "/") == 403
        assert asked(parts, f"/?token={token[:-1]}") == 403
        assert asked(parts, "/image/160/0/test") == 403
        assert asked(parts, "/_nicegui_ws/socket.io/?EIO=4&transport=polling") == 403
        assert asked(parts, "/", cookie) == 200
        assert asked(parts, "/image/160/0/test", cookie) == 200
        assert asked(parts, "/image/160/0/test", cookie | {"Host": f"evil.example:{parts.port}"}) == 403
        assert asked(parts, "/image/160/0/test", cookie | {"Origin": "http://evil.example"}) == 403
        for path in (
            "/image/160/8/test",
            "/image/161/0/test",
            "/image/160/0/..%2F..%2Fsecret",
            "/report/groups/..%2F..%2F..%2Fsecret",
            "/report/..%2F../secret",
            "/report/groups/%2Fetc%2Fpasswd",
            "/../../secret",
            "/..%2F..%2Fsecret",
        ):
            assert asked(parts, path, cookie) == 404, path
        page.close()


def asked(parts, path, headers=None):
    """The status of an answer to a path that is sent as it is."""
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.putrequest("GET", path, skip_host=bool(headers and "Host" in headers))
    for name, value in (headers or {}).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert b"kept from others" not in body
    return answer.status
