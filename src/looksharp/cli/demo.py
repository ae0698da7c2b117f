"""Find a shortcut, mark a few images, retrain, and show it, offline."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo"), help="Folder for the report and the runs.")
    parser.add_argument("--seed", type=int, default=0, help="Of everything drawn at random.")


def run(settings: Namespace) -> None:
    from looksharp.curing.demo import demo

    report = demo(settings.out, seed=settings.seed)
    print(f"Open {report} in a browser.")
