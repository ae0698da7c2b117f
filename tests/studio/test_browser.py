"""The studio in Chromium: what a person sees, for whom it can be used, and whom it keeps out."""

import http.client
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from looksharp import cli
from looksharp.data.build import DataConfig
from looksharp.training import train
from looksharp.training.settings import RunConfig, TrainingConfig

PAGES = ("look", "find", "mark", "retrain", "prove")
NASTY = "<img src=x onerror=window.hit=1>"


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A run of the command line, begun in an empty folder: plain training on digits with a cue."""
    folder = tmp_path_factory.mktemp("story")
    digits = "--data biased_digits --biased_digits.train 300 --biased_digits.val 40 --biased_digits.test 40"
    flags = f"{digits} --biased_digits.rho 1.0 --augment none --epochs 6 --batch_size 16 --workers 0 --device cpu"
    assert cli.main(["train", *flags.split(), "--lr", "0.1", "--out", str(folder / "plain")]) == 0
    return folder / "plain"


@pytest.fixture(scope="module")
def studio(story, serving):
    with serving(story) as (_, address):
        yield address


def other_page(address, name):
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"


def test_look(studio, visit, serious):
    page = visit(studio)
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
    page = visit(other_page(studio, name), width=400)
    page.wait_for_selector("#main [role=status]:has-text('Loading')", state="detached")
    page.wait_for_selector("#main > :nth-child(3)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert serious(page) == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
    page.keyboard.press("?")
    assert page.evaluate("document.getElementById('keys').open")


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
        page.wait_for_function("document.querySelector('.cell img')?.naturalWidth > 0")
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
