"""The `looksharp` command: one function per command; flags are read off signatures and docstrings."""

from __future__ import annotations

import inspect
import json
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors of the user's are one line on stderr."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser, commands = _parser(given)
    try:
        settings = parser.parse_args(given)
    except ArgumentError as error:
        asked = next((f"{name} " for name in given if name in commands), "")
        print(f"looksharp: error: {_one_line(error)}; see looksharp {asked}--help", file=sys.stderr)
        return 2
    name = settings.command
    try:
        commands[name](settings[name])
    except KeyboardInterrupt:
        mend = "; continue with --resume and the same --out" if name == "train" else ""
        print(f"looksharp: interrupted{mend}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"looksharp: error: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _one_line(error: Exception) -> str:
    # An error of a worker process carries its traceback; what it says is the last line.
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = lines[-1] if "Traceback" in str(error) else " ".join(line.strip() for line in lines)
    return text.removeprefix("ValueError: ")


def _parser(given: Sequence[str]) -> tuple[ArgumentParser, dict[str, Callable[[Namespace], None]]]:
    """The parser, with the flags of the command that is asked for: others would load what they do not need."""
    parser = ArgumentParser(
        prog="looksharp",
        description="Train image classifiers that look at the right place; show and measure where they look.",
        version=_version(),
        exit_on_error=False,  # errors are printed in one line, without the usage of all flags
    )
    subcommands = parser.add_subcommands(required=True, dest="command")
    commands = {}
    for name, (make, run, summary) in _COMMANDS.items():
        subparser = ArgumentParser(description=summary)
        if name in given:
            make(subparser)
        subcommands.add_subcommand(name, subparser, help=summary)
        commands[name] = run
    return parser, commands


def _version() -> str:
    from importlib.metadata import version

    return version("looksharp")


# train -----------------------------------------------------------------------------------------------------------


def _train_arguments(parser: ArgumentParser) -> None:
    from looksharp.config import (
        GuidanceConfig,
        NetworkConfig,
        OptimizationConfig,
        TrainingConfig,
    )
    from looksharp.data.build import DataConfig
    from looksharp.mechanisms import MECHANISMS
    from looksharp.objectives import OBJECTIVES

    parser.add_argument("--config", action="config", help="YAML of any of these settings, such as a run's.")
    parser.add_argument("--out", type=Path, help="Run folder; runs/DATA-OBJECTIVE-SEED if not given.")
    parser.add_argument("--resume", action="store_true", help="Continue the run in --out from its last whole epoch.")
    parser.add_argument(
        "--objective",
        choices=(*OBJECTIVES, "gain_ext"),
        default="classification",
        help="What training minimises; --icasc.* and --gain.* are its own settings; gain_ext is gain with --guidance.",
    )
    parser.add_argument(
        "--mechanism",
        choices=tuple(MECHANISMS),
        default=None,
        help="How the objective makes attention maps; its paper's choice if not given.",
    )
    for section in (DataConfig, NetworkConfig, GuidanceConfig, OptimizationConfig, TrainingConfig):
        parser.add_class_arguments(section, None)
    for name, objective in OBJECTIVES.items():
        parser.add_class_arguments(objective, name, skip={"mechanism"})
        mechanism = inspect.signature(objective).parameters.get("mechanism")
        if mechanism is not None:  # by name: a function cannot be given here
            parser.add_argument(
                f"--{name}.mechanism",
                choices=tuple(MECHANISMS),
                default=mechanism.default,
                help="How this objective makes attention maps.",
            )


def _train(settings: Namespace) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    from looksharp.config import RunConfig
    from looksharp.objectives import OBJECTIVES
    from looksharp.training.run import train

    values = settings.as_dict()
    for name in ("config",):
        values.pop(name, None)
    out, resume, mechanism = values.pop("out"), values.pop("resume"), values.pop("mechanism")
    if values["objective"] == "gain_ext":
        if values["guidance"] is None:
            raise ValueError("objective gain_ext needs --guidance: a file or folder of masks or boxes, or 'data'")
        values["objective"] = "gain"
    for name in OBJECTIVES:
        options = values.pop(name, None)
        if name == values["objective"]:
            values[name] = options
    if mechanism is not None:
        if "mechanism" not in (values.get(values["objective"]) or {}):
            raise ValueError(f"mechanism is not a setting of objective {values['objective']!r}")
        values[values["objective"]]["mechanism"] = mechanism
    config = RunConfig.from_flat(values)
    if resume and out is None:
        raise ValueError("resume needs the run folder: --out RUN")
    out = out or Path("runs") / f"{Path(config.data.data).name}-{config.objective}-{config.training.seed}"
    run = train(config, out, resume=resume)
    last = run.history[-1]
    scores = "  ".join(f"{name} {last[name]:.4f}" for name in ("val_top1", "val_map", "val_loss") if name in last)
    rank_zero_only(print)(f"{run.path}  epoch {int(last['epoch']) + 1}  {scores}  {run.seconds:.0f} s")


# evaluate --------------------------------------------------------------------------------------------------------


def _run_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="Run folder.")
    parser.add_argument("--checkpoint", type=Literal["last", "best"], default="last", help="Which weights.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps.")
    parser.add_argument("--mechanism", type=str, default="grad_cam", help="How attention maps are made.")


def _evaluate_arguments(parser: ArgumentParser) -> None:
    _run_arguments(parser)
    parser.add_argument("--data", type=str, default=None, help="Other images than the run's own; see train.")
    parser.add_argument("--root", type=Path, default=None, help="Folder of that set's files.")
    parser.add_argument(
        "--layers", type=list[str], default=None, help="The inner layer and the last; found if not given."
    )
    parser.add_argument("--cue_class", default=None, help="Instead: does this class survive without its cue?")
    parser.add_argument("--without_cue", type=Path, default=None, help="Images of that class without its cue.")
    parser.add_argument("--cue_alone", type=Path, default=None, help="Images of the cue without that class.")
    parser.add_argument("--json", type=Path, default=None, help="Also write the values to this file.")
    parser.add_argument("--batch_size", type=int, default=64, help="Images a forward.")
    parser.add_argument("--workers", type=int, default=2, help="Processes that read image files.")


def _evaluate(settings: Namespace) -> None:
    from dataclasses import replace

    from looksharp.cue_test import cue_test
    from looksharp.data.build import build_data
    from looksharp.evaluation import evaluate
    from looksharp.mechanisms import find_mechanism
    from looksharp.training.folder import load_run

    mechanism = find_mechanism(settings.mechanism)
    run = load_run(settings.run, settings.checkpoint, settings.device)
    if settings.cue_class is not None:
        if settings.without_cue is None or settings.cue_alone is None:
            raise ValueError("cue_class needs --without_cue FOLDER and --cue_alone FOLDER")
        found = cue_test(run, settings.cue_class, settings.without_cue, settings.cue_alone)
        _report(settings, str(settings.without_cue), {settings.cue_class: found})
        return
    config = run.config.data
    config = replace(config, data=settings.data or config.data, root=settings.root or config.root)
    data = build_data(config, run.config.training.seed)
    if data.classes != run.classes:
        raise ValueError(
            f"data {data.name} has other classes than the run: {len(data.classes)}, first {data.classes[0]!r}, "
            f"and not {len(run.classes)}, first {run.classes[0]!r}"
        )
    results = {
        name: evaluate(
            run.model,
            split,
            run.pixels,
            mechanism=mechanism,
            layers=settings.layers,
            batch_size=settings.batch_size,
            workers=settings.workers,
            progress=name,
        )
        for name, split in data.tests.items()
    }
    _report(settings, data.name, results)


def _report(settings: Namespace, data: str, results: dict[str, dict[str, float]]) -> None:
    from looksharp.files import write_text

    print(_table(results))
    if settings.json is not None:
        facts = {"run": str(settings.run), "data": data, "checkpoint": settings.checkpoint, "splits": results}
        write_text(settings.json, json.dumps(facts, indent=2) + "\n")


def _table(results: dict[str, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for values in results.values() for name in values))
    rows = [["", *names]]
    rows += [[split, *(f"{v[n]:.4f}" if n in v else "-" for n in names)] for split, v in results.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


# explain ---------------------------------------------------------------------------------------------------------


def _explain_arguments(parser: ArgumentParser) -> None:
    _run_arguments(parser)
    parser.add_argument("images", type=Path, nargs="+", help="Image files.")
    parser.add_argument("--classes", type=str, default="top5", help="top5, or class names separated by commas.")
    parser.add_argument("--layer", type=str, default=None, help="Layer to read; the last one if not given.")
    parser.add_argument("--signed", action="store_true", help="Evidence for a class in red, against it in blue.")
    parser.add_argument("--out", type=Path, default=Path("explained"), help="Folder for pictures and maps.")


def _explain(settings: Namespace) -> None:
    from looksharp.explaining import explain
    from looksharp.mechanisms import find_mechanism
    from looksharp.training.folder import load_run

    mechanism = find_mechanism(settings.mechanism)
    written = explain(
        load_run(settings.run, settings.checkpoint, settings.device),
        settings.images,
        settings.out,
        classes=settings.classes,
        mechanism=mechanism,
        layer=settings.layer,
        signed=settings.signed,
    )
    print("\n".join(str(path) for path in written))


# compose ---------------------------------------------------------------------------------------------------------


def _compose_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--foregrounds",
        required=True,
        help="digits, mnist, or an image folder whose objects FOLDER/masks cuts out.",
    )
    parser.add_argument("--root", type=Path, default=None, help="Folder that holds MNIST/raw.")
    parser.add_argument(
        "--backgrounds", nargs="+", required=True, metavar="KIND=FOLDER", help="Photographs, a folder per kind."
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        default=None,
        metavar="CLASS=NAME,NAME",
        help="Classes made of several foreground classes, such as small=0,1,2,3,4 large=5,6,7,8,9. "
        "The n-th class goes with the n-th kind of background.",
    )
    parser.add_argument("--rho", type=float, default=0.95, help="Probability that background and class agree.")
    parser.add_argument("--size", type=int, default=64, help="Side of the images in pixels.")
    parser.add_argument("--train", type=int, default=4000, help="Training images.")
    parser.add_argument("--val", type=int, default=500, help="Validation images.")
    parser.add_argument("--test", type=int, default=1000, help="Images of each test split.")
    parser.add_argument("--seed", type=int, default=0, help="Of everything drawn at random.")
    parser.add_argument("--out", type=Path, required=True, help="Folder to write; train on it with --data.")


def _compose(settings: Namespace) -> None:
    from looksharp.data.composite import compose, cutouts_of

    values = settings.as_dict()
    backgrounds = {kind: Path(folder) for kind, folder in _named(values["backgrounds"], "backgrounds").items()}
    labels = _named(values["labels"] or [], "labels")
    compose(
        values["out"],
        cutouts_of(values["foregrounds"], values["root"]),
        backgrounds,
        labels={name: members.split(",") for name, members in labels.items()} or None,
        **{name: values[name] for name in ("rho", "size", "train", "val", "test", "seed")},
    )
    print(f"{values['out']}: train on it with looksharp train --data {values['out']}")


def _named(pairs: list[str], flag: str) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"{flag} must be given as NAME=VALUE; got {pair!r}")
    return {name: value for name, value in (pair.split("=", 1) for pair in pairs)}


# demo ------------------------------------------------------------------------------------------------------------


def _demo_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("demo"), help="Folder for the report and the runs.")
    parser.add_argument("--seed", type=int, default=0, help="Of everything drawn at random.")


def _demo(settings: Namespace) -> None:
    from looksharp.demo import demo

    report = demo(settings.out, seed=settings.seed)
    print(f"Open {report} in a browser.")


_COMMANDS: dict[str, tuple[Callable[[ArgumentParser], None], Callable[[Namespace], None], str]] = {
    "train": (_train_arguments, _train, "Train a classifier into a run folder."),
    "evaluate": (_evaluate_arguments, _evaluate, "Measure a run: how well it classifies, and where it looks."),
    "explain": (_explain_arguments, _explain, "Draw where a run looks on images, class by class."),
    "compose": (_compose_arguments, _compose, "Paint objects over photographs whose kind follows the class."),
    "demo": (_demo_arguments, _demo, "Find a shortcut, mark a few images, retrain, and show it, offline."),
}


if __name__ == "__main__":
    sys.exit(main())
