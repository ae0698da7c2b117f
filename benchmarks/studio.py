"""What the studio costs: seconds until its first page is there, then its images, for a run whose data are a big folder.

Files are links to a few hundred pictures, so that a folder of any size takes little room. Where Chromium is installed,
the page is opened in it; otherwise it is asked for alone.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_CLASSES = 10
_PICTURES = 200
_SIDE = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000, help="images of the folder")
    parser.add_argument("--starts", type=int, default=3, help="starts, of which the fastest counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = _folder(Path(folder) / "images", options.images)
        run = _run(Path(folder))
        rows = [_start(run, data, opens=start == 0) for start in range(options.starts)]
    least = {name: min(row[name] for row in rows) for name in rows[-1]}
    print(f"{options.images:,} images, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n\n| | |\n|---|---|")
    for name, value in (rows[0] | least).items():
        print(f"| {name} | {value:.2f} |")


def _folder(root: Path, images: int) -> Path:
    """Make a folder of a class a folder, a fifth of its images for the test."""
    rng, pictures = np.random.default_rng(0), root.parent / "pictures"
    pictures.mkdir(parents=True)
    for number in range(_PICTURES):
        coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((_SIDE, _SIDE)).save(pictures / f"{number}.jpg")
    for number in range(images):
        split = "test" if number % 5 == 0 else "train"
        where = root / split / f"class {number // 5 % _CLASSES}"
        where.mkdir(parents=True, exist_ok=True)
        os.link(pictures / f"{number % _PICTURES}.jpg", where / f"{number:06d}.jpg")
    return root


def _run(root: Path) -> Path:
    """Train for an epoch on a few of such images."""
    few = _folder(root / "few" / "images", 400)
    command = [
        sys.executable,
        "-m",
        "looksharp",
        "train",
        "--data",
        few,
        "--image_size",
        "64",
        "--backbone",
        "small",
    ]
    command += ["--epochs", "1", "--device", "cpu", "--out", root / "run"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return root / "run"


def _start(run: Path, data: Path, *, opens: bool) -> dict[str, float]:
    """Return seconds from the command until things are there, and the server's memory."""
    command = [sys.executable, "-m", "looksharp", "studio", run, "--data", data, "--no_browser", "--device", "cpu"]
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None, "the studio did not start"
        with urllib.request.urlopen(found[0]) as answer:
            answer.read()
        times = {"first page": time.perf_counter() - started, "first page, processor seconds": _spent(process.pid)}
        return times | (_opened(found[0], started) if opens and _CHROMIUM else {})
    finally:
        process.terminate()
        process.wait()
        print(f"peak of all: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20:.2f} GiB", file=sys.stderr)


def _spent(process: int) -> float:
    """Return the processor seconds that a process has used: what a loaded machine does not stretch; NaN if not told."""
    facts = Path(f"/proc/{process}/stat")
    if not facts.is_file():
        return float("nan")
    user, system = facts.read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _opened(address: str, started: float) -> dict[str, float]:
    """Return seconds until Chromium shows the heading, the first image, and a page of maps after a click."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(address)
        page.wait_for_selector("h1")
        times = {"heading in the browser": time.perf_counter() - started}
        page.wait_for_function("document.querySelector('.cell img')?.naturalWidth > 0")
        times["first image"] = time.perf_counter() - started
        clicked = time.perf_counter()
        page.locator(".cell").first.click()
        page.wait_for_selector(".laid")
        times["maps of an image, after a click"] = time.perf_counter() - clicked
        browser.close()
    return times


if __name__ == "__main__":
    main()
