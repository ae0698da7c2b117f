"""What the demonstration finds, over seeds: accuracy with and without the cue, attention on the object.

Every seed makes its own images, draws its own guided ones and trains every method of `looksharp demo` for the same
number of epochs. Prints mean and standard deviation, and the differences to the plain classifier.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from looksharp.demo import METHODS, demo

_COLUMNS = (
    ("biased", "top1"),
    ("unbiased", "top1"),
    ("conflicting", "top1"),
    ("unbiased", "attention_inside"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/cure"))
    options = parser.parse_args()
    values: dict[str, dict[tuple[str, str], list[float]]] = {name: {c: [] for c in _COLUMNS} for name in METHODS}
    for seed in range(options.seeds):
        folder = options.out / str(seed)
        if not (folder / "results.json").is_file():
            demo(folder, seed=seed, progress=False)
        for run in json.loads((folder / "results.json").read_text())["runs"]:
            for split, metric in _COLUMNS:
                values[run["name"]][split, metric].append(run["splits"][split][metric])
            seconds = run["seconds"]
            print(
                seed,
                run["name"],
                *(f"{values[run['name']][c][-1]:.3f}" for c in _COLUMNS),
                f"{seconds:.0f} s",
                flush=True,
            )
    print("\n| method | " + " | ".join(f"{split} {metric}" for split, metric in _COLUMNS) + " |")
    print("|---" * (len(_COLUMNS) + 1) + "|")
    for name, columns in values.items():
        cells = [_cell(found, values["plain"][c]) for c, found in columns.items()]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _cell(found: list[float], plain: list[float]) -> str:
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    difference = statistics.mean(f - p for f, p in zip(found, plain, strict=True))
    return f"{statistics.mean(found):.3f} ± {spread:.3f} ({difference:+.3f})"


if __name__ == "__main__":
    main()
