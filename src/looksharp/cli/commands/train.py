"""Train a classifier into a run folder."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, asked, given_values, merged_values

__all__ = ["add_train_flags", "named_data", "run"]

_OWN = ("out", "resume", "config")
_GO_WITH = {"shortcut": "cues", "object": "cues", "propagate_without": "propagate", "logged_maps": "logger"}
_SHOWN = ("val_top1", "val_map", "val_worst_group", "val_exchanged_across", "val_loss")


def add_train_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Add the settings of a run, and those of the data set, architecture and parts that the arguments name."""
    from looksharp.data.build import DataConfig
    from looksharp.data.registry import DATA_SETS
    from looksharp.marks.mark_format import MARK_FORMATS
    from looksharp.networks import ARCHITECTURES
    from looksharp.objectives.base import PARTS
    from looksharp.training.settings import MarksConfig, NetworkConfig, OptimizationConfig, TrainingConfig

    flags = {argument.partition("=")[0].removeprefix("--") for argument in given}
    unlisted = [name for name, leader in _GO_WITH.items() if leader not in flags]
    parser.description = (
        f"{parser.description} Flags that go with --cues, --logger or --propagate are listed beside it."
    )
    parser.add_argument("--config", type=Path, default=None, help="YAML file of settings, such as a run's config.yaml.")
    parser.add_argument("--out", type=Path, default=None, help="Run folder; runs/DATA-OBJECTIVE-SEED if not given.")
    parser.add_argument("--resume", action="store_true", help="Continue an interrupted run in --out.")
    parser.add_argument(
        "--objective",
        default=SUPPRESS,
        help=f"Parts joined by '+'; append :WEIGHT to a part to override its default weight: "
        f"icasc+agreement:0.3. Parts: {', '.join(sorted(PARTS))}. Naming one adds its own flags to this help. "
        f"(default: classification)",
    )
    for kind, title in (
        (DataConfig, f"images; sets: {', '.join(sorted(DATA_SETS))}"),
        (NetworkConfig, f"network; architectures: plain, {', '.join(sorted(ARCHITECTURES))}"),
        (MarksConfig, f"marks; formats: {', '.join(sorted(MARK_FORMATS))}"),
        (OptimizationConfig, "optimization"),
        (TrainingConfig, "training"),
    ):
        add_flags(parser, kind, without=("settings",), unlisted=unlisted, title=title)
    for name, source, without in _named(given):
        add_flags(parser, source, below=name, without=without, title=f"settings of {name}")


def run(settings: Namespace) -> None:
    """Train with the flags given, over those of a configuration file."""
    from lightning.pytorch.utilities import rank_zero_only

    from looksharp.networks.backbones.build import is_own_code
    from looksharp.settings import SettingError
    from looksharp.training.run import train
    from looksharp.training.settings import RunConfig

    file, flags = _file(settings.config), given_values(settings, without=_OWN)
    out, values = settings.out, merged_values(file, flags)
    if settings.resume:
        values = merged_values(_known(out, values), values)
    try:
        config = RunConfig.from_flat(values)
    except SettingError as error:
        name = str(error).split()[0].strip("'").partition(".")[0]
        if name not in file or name in flags:
            raise
        raise ValueError(f"{settings.config}: {error}") from None
    if is_own_code(config.network.backbone) and config.network.code is None:
        config = replace(config, network=replace(config.network, code=Path.cwd()))
    out = out or Path("runs") / f"{Path(config.data.data).name}-{config.objective_name}-{config.training.seed}"
    done = train(config, out, resume=settings.resume)
    last = done.history[-1]
    scores = "  ".join(f"{name} {last[name]:.4f}" for name in _SHOWN if name in last)
    rank_zero_only(print)(f"{done.path}  epoch {int(last['epoch']) + 1}  {scores}  {done.seconds:.0f} s")


def _known(out: Path | None, values: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of the run that is resumed; none where one with `values` is yet to begin."""
    from looksharp.training.folder import read_config

    if out is None:
        raise ValueError("resume needs the run folder: --out RUN")
    if not (out / "config.yaml").is_file():
        if not values:
            raise ValueError(f"{out} holds no run to resume: it has no config.yaml")
        return {}
    return read_config(out).flat()


def _named(given: Sequence[str]) -> list[tuple[str, Callable[..., object], tuple[str, ...]]]:
    """List what the arguments name that has settings of its own: (name, signature, names that are not settings)."""
    from looksharp.networks.architecture import ARCHITECTURES, BUILT_WITH
    from looksharp.objectives.base import PARTS
    from looksharp.training.settings import brought_by

    named = asked(given, "config", "data", "architecture", "objective")
    config = named["config"]
    file = _file(config) if config is not None and Path(config).is_file() else {}
    chosen = {name: named[name] or file.get(name) for name in ("data", "architecture", "objective")}
    found = named_data(str(chosen["data"] or "digits"))
    parts = _part_names(chosen["objective"] or "classification")
    built = str(chosen["architecture"])
    if built in ARCHITECTURES:
        found.append((built, ARCHITECTURES[built], BUILT_WITH))
        parts += [name for name in brought_by(built) if name not in parts]
    return found + [(name, PARTS[name], ()) for name in parts if name in PARTS]


def named_data(data: str) -> list[tuple[str, Callable[..., object], tuple[str, ...]]]:
    """List the named set, as `_named` does; none for a folder."""
    from looksharp.data.build import below_data
    from looksharp.data.registry import DATA_SETS, SOURCES

    name = below_data(data)
    if name not in DATA_SETS and name not in SOURCES:
        return []
    made = DATA_SETS.get(name) or SOURCES[name]
    return [(name, made.reader, made.without)]


def _part_names(objective: str | Iterable[object]) -> list[str]:
    items = objective.split("+") if isinstance(objective, str) else objective
    names = [name for item in items for name in (item if isinstance(item, Mapping) else str(item).split("+"))]
    return [name.partition(":")[0].strip() for name in names]


def _file(path: Path | str | None) -> dict[str, Any]:
    """Read a configuration file."""
    from looksharp.files import read_mapping

    if path is None:
        return {}
    if not Path(path).is_file():
        raise ValueError(f"config {path} does not exist")
    return read_mapping(Path(path), "settings")


COMMANDS.add(
    "train",
    Command(
        "Train a classifier into a run folder.",
        add_train_flags,
        run,
        "continue with --resume and the same --out",
        place=0,
    ),
)
