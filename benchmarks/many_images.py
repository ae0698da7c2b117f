"""Peak memory of `explain`, `evaluate` and `suspects` over 2,000 and over 20,000 tiny images.

Each command runs in a process of its own, over an image folder with equally many training and test images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.timing import hardware

_CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--few", type=int, default=2_000)
    parser.add_argument("--many", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=32, help="pixels")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=["explain", "evaluate", "suspects"])
    options = parser.parse_args()
    print(f"{hardware(torch.device('cpu'), 'pyarrow')}\n")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for count in (100, options.few, options.many):
            _images(folder / str(count), count, options.side)
        size = ("--image_size", str(options.side), "--epochs", "1", "--workers", "0", "--device", "cpu")
        _spent("train", "--data", folder / "100", "--out", folder / "run", *size)
        print(f"| command | images | seconds | images/s | peak at {options.few:,} | at {options.many:,} | ratio |")
        print("|---|---|---|---|---|---|---|")
        for command in options.only:
            (_, less), (seconds, more) = (
                _run(command, folder, count, options.workers) for count in (options.few, options.many)
            )
            rate = options.many / seconds
            print(
                f"| {command} | {options.many:,} | {seconds:.0f} | {rate:.0f} | {less:.0f} MB | {more:.0f} MB "
                f"| {more / less:.2f} |",
                flush=True,
            )


def _images(folder: Path, count: int, side: int) -> None:
    """Write training and test images, a folder for each class."""
    drawn = np.random.default_rng(0)
    for number in range(count):
        places = [folder / split / f"class{number % _CLASSES}" / f"{number:06d}.png" for split in ("train", "test")]
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            noise = drawn.integers(0, 255, (side // 4, side // 4, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((side, side)).save(place, compress_level=1)


def _run(command: str, folder: Path, count: int, workers: int) -> tuple[float, float]:
    """Seconds, and peak memory in MB, of a command over `count` images."""
    data, out = folder / str(count), folder / f"{command}-{count}"
    common = ("--device", "cpu", "--workers", str(workers))
    if command == "explain":
        return _spent("explain", folder / "run", data / "test", "--out", out, *common)
    if command == "evaluate":
        return _spent("evaluate", folder / "run", "--data", data, "--refresh", *common)
    return _spent("suspects", folder / "run", "--data", data, "--out", out, *common)


def _spent(*arguments: str | Path) -> tuple[float, float]:
    command, started = [sys.executable, "-m", "looksharp", *map(str, arguments)], time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments[0]} failed: {said.decode()[-2000:]}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
