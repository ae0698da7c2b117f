"""Train a classifier into a run folder."""

from __future__ import annotations

import inspect
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    from looksharp.attention.mechanisms import MECHANISMS
    from looksharp.data.build import DataConfig
    from looksharp.networks import ARCHITECTURES
    from looksharp.objectives import OBJECTIVES
    from looksharp.training.settings import (
        GuidanceConfig,
        NetworkConfig,
        OptimizationConfig,
        TrainingConfig,
    )

    parser.add_argument("--config", action="config", help="YAML of any of these settings, such as a run's.")
    parser.add_argument("--out", type=Path, help="Run folder; runs/DATA-OBJECTIVE-SEED if not given.")
    parser.add_argument("--resume", action="store_true", help="Continue the run in --out from its last whole epoch.")
    parser.add_argument(
        "--objective",
        choices=(*OBJECTIVES, "gain_ext"),
        default="classification",
        help="What training minimises; --icasc.*, --gain.* and --group_dro.* are its own "
        "settings; gain_ext is gain with --guidance.",
    )
    parser.add_argument(
        "--mechanism",
        choices=tuple(MECHANISMS),
        default=None,
        help="How the objective makes attention maps; its paper's choice if not given.",
    )
    for section in (DataConfig, NetworkConfig, GuidanceConfig, OptimizationConfig, TrainingConfig):
        parser.add_class_arguments(section, None)
    for name, architecture in ARCHITECTURES.items():
        known = inspect.signature(architecture).parameters
        skipped = {"backbone", "image_size", "multilabel"} & known.keys()
        parser.add_class_arguments(architecture, name, skip=skipped)
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


def run(settings: Namespace) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    from looksharp.networks import ARCHITECTURES
    from looksharp.objectives import OBJECTIVES
    from looksharp.training.run import train
    from looksharp.training.settings import RunConfig

    values = settings.as_dict()
    for name in ("config",):
        values.pop(name, None)
    out, resume, mechanism = values.pop("out"), values.pop("resume"), values.pop("mechanism")
    if values["objective"] == "gain_ext":
        if values["guidance"] is None:
            raise ValueError("objective gain_ext needs --guidance: a file or folder of masks or boxes, or 'data'")
        values["objective"] = "gain"
    for name in (*OBJECTIVES, *ARCHITECTURES):
        options = values.pop(name, None)
        if name in (values["objective"], values["architecture"]):
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
    shown = ("val_top1", "val_map", "val_worst_group", "val_exchanged_across", "val_loss")
    scores = "  ".join(f"{name} {last[name]:.4f}" for name in shown if name in last)
    rank_zero_only(print)(f"{run.path}  epoch {int(last['epoch']) + 1}  {scores}  {run.seconds:.0f} s")
