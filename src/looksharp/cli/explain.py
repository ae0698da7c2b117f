"""Draw where a run looks on images, class by class."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from looksharp.cli.options import add_model_arguments, add_run_argument

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    add_run_argument(parser)
    add_model_arguments(parser, mechanism=None)
    parser.add_argument("images", type=Path, nargs="+", help="Image files.")
    parser.add_argument("--classes", type=str, default="top5", help="top5, or class names separated by commas.")
    parser.add_argument("--layer", type=str, default=None, help="Layer to read; the last one if not given.")
    parser.add_argument("--signed", action="store_true", help="Evidence for a class in red, against it in blue.")
    parser.add_argument("--out", type=Path, default=Path("explained"), help="Folder for pictures and maps.")


def run(settings: Namespace) -> None:
    from looksharp.attention.mechanisms import find_mechanism
    from looksharp.explaining.explain import explain
    from looksharp.training.folder import load_run

    if settings.mechanism not in (None, "built_in"):
        find_mechanism(settings.mechanism)
    written = explain(
        load_run(settings.run, settings.checkpoint, settings.device),
        settings.images,
        settings.out,
        classes=settings.classes,
        mechanism=settings.mechanism,
        layer=settings.layer,
        signed=settings.signed,
    )
    print("\n".join(str(path) for path in written))
