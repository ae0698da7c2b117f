"""Compare runs over seeds: what differs, whether it is significant, and what it looks like."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        help="Run folders. Those that differ in their seed alone are one method; others are held against the first.",
    )
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="Folder for the page, tables, figures.")
    parser.add_argument(
        "--names", type=str, nargs="+", default=None, help="A name for each method; found if not given."
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps.")
    parser.add_argument("--mechanism", type=str, default="grad_cam", help="How attention maps are made.")
    parser.add_argument("--pictures", type=int, default=4, help="Images of a kind to show.")
    parser.add_argument("--points", type=int, default=500, help="The most images to lay out by t-SNE.")
    parser.add_argument("--resamples", type=int, default=2000, help="Resamples of the bootstrap.")
    parser.add_argument("--batch_size", type=int, default=64, help="Images a forward.")
    parser.add_argument("--workers", type=int, default=2, help="Processes that read image files.")


def run(settings: Namespace) -> None:
    from looksharp.comparison import compare

    names = ("names", "device", "mechanism", "pictures", "points", "resamples", "batch_size", "workers")
    report = compare(settings.runs, settings.out, **{name: settings[name] for name in names})
    print(f"Open {report} in a browser.")
