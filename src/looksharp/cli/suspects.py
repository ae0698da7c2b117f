"""Choose the training images to mark."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from looksharp.cli.options import add_model_arguments, add_run_argument

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    add_run_argument(parser)
    add_model_arguments(parser)
    parser.add_argument("--data", type=str, default=None, help="Other images than the run's own; see train.")
    parser.add_argument("--root", type=Path, default=None, help="Folder of that set's files.")
    parser.add_argument("-n", type=int, default=32, help="How many images to mark.")
    parser.add_argument("--layer", type=str, default=None, help="Layer to read; the last one if not given.")
    parser.add_argument("--batch_size", type=int, default=64, help="Images a forward.")
    parser.add_argument("--workers", type=int, default=2, help="Processes that read image files.")
    parser.add_argument("--seed", type=int, default=0, help="Of the clusters, and of the images looked at.")
    parser.add_argument("--out", type=Path, default=Path("suspects"), help="Folder for the sheet and the files.")


def run(settings: Namespace) -> None:
    from dataclasses import replace

    from looksharp.attention.mechanisms import find_mechanism
    from looksharp.data.build import build_data
    from looksharp.suspects import suspects, write_suspects
    from looksharp.training.folder import load_run

    mechanism = find_mechanism(settings.mechanism)
    run = load_run(settings.run, settings.checkpoint, settings.device)
    config = run.config.data
    config = replace(config, data=settings.data or config.data, root=settings.root or config.root)
    data = build_data(config, run.config.training.seed)
    if data.classes != run.classes:
        raise ValueError(
            f"data {data.name} has other classes than the run: {len(data.classes)}, first {data.classes[0]!r}, "
            f"and not {len(run.classes)}, first {run.classes[0]!r}"
        )
    names = ("layer", "batch_size", "workers", "seed")
    found = suspects(run, data, settings.n, mechanism=mechanism, **{name: settings[name] for name in names})
    print("\n".join(str(path) for path in write_suspects(found, data, settings.out, run.pixels)))
