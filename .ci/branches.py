"""Print the coverage of each room, and the files of the core that have a tenth of their branches untested."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

CORE = ("attention", "marks", "objectives", "networks", "interventions", "metrics", "training", "data")
"""Rooms whose numbers others rest on."""
GOAL = 0.9


def measured() -> dict[str, dict[str, int]]:
    """Return file -> what coverage counted in it, of the data that the tests left."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "coverage.json")
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(file)], check=True)
        files = json.loads(file.read_text())["files"]
    return {name.split("src/looksharp/")[-1]: each["summary"] for name, each in files.items()}


def main() -> None:
    """Print a line for each room, then the files of the core below the goal."""
    rooms: dict[str, list[dict[str, int]]] = defaultdict(list)
    files = measured()
    for name, counts in files.items():
        rooms[name.split("/")[0]].append(counts)
    for room, counted in sorted(rooms.items()):
        lines, branches = (_share(counted, kind, total) for kind, total in _KINDS)
        print(f"{room:20} lines {lines:6.1%}   branches {branches:6.1%}")
    below = {
        name: counts
        for name, counts in files.items()
        if name.split("/")[0] in CORE and _share([counts], *_KINDS[1]) < GOAL
    }
    print(f"\nFiles of the core with fewer than {GOAL:.0%} of their branches tested: {len(below) or 'none'}")
    for name, counts in sorted(below.items()):
        print(f"{name:52} {counts['covered_branches']:3} of {counts['num_branches']:3}")


_KINDS = (("covered_lines", "num_statements"), ("covered_branches", "num_branches"))


def _share(counted: list[dict[str, int]], kind: str, total: str) -> float:
    everything = sum(each[total] for each in counted)
    return sum(each[kind] for each in counted) / everything if everything else 1.0


if __name__ == "__main__":
    main()
