"""Learn segmentation from seeds, or write the masks that a run predicts."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, given_values, merged_values
from looksharp.settings import SettingError, checked_arguments

if TYPE_CHECKING:
    from looksharp.training.settings import RunConfig

__all__ = ["segment"]


def segment(
    run: Path | None = None,
    images: Sequence[Path] = (),
    *,
    seeds: Path | None = None,
    data: str | None = None,
    root: Path | None = None,
    out: Path | None = None,
    steps: Annotated[int, Ge(1)] = 8000,
    resume: bool = False,
    crf: bool = True,
    checkpoint: Literal["last", "best"] = "last",
) -> None:
    """Train on seeds, or predict with a run.

    Args:
        run: run folder of a segmentation, to write the masks of images.
        images: image files.
        seeds: folder that looksharp seeds wrote, to train on; beside images, to draw.
        data: data set of the seeds, which knows it; another one is refused.
        root: folder of the data set's files, if it was moved.
        out: run folder of the training, runs/SEEDS-sec-SEED if not given; or folder of the masks, segmented.
        steps: training steps, over which the learning rate is divided three times.
        resume: continue an interrupted run in --out.
        crf: sharpen predicted masks along edges; --no_crf leaves them.
        checkpoint: weights to predict with, last or best.
    """


_OWN = ("run", "images", "seeds", "data", "root", "out", "steps", "resume", "crf", "checkpoint")


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.data.build import DataConfig
    from looksharp.networks.architecture import BUILT_WITH
    from looksharp.networks.large_fov import LargeFOV
    from looksharp.objectives import SEC
    from looksharp.training.settings import NetworkConfig, OptimizationConfig, TrainingConfig

    add_flags(parser, segment, positional=("run", "images"))
    others = ("data", "root", "val_share", "crop_share", "range", "settings")
    add_flags(parser, DataConfig, without=others, title="images")
    add_flags(parser, NetworkConfig, without=("architecture", "settings"), title="network")
    add_flags(parser, LargeFOV, below="large_fov", without=BUILT_WITH, title="settings of large_fov")
    add_flags(parser, SEC, below="sec", title="settings of sec")
    add_flags(parser, OptimizationConfig, title="optimization; what is not given is as in the paper")
    add_flags(parser, TrainingConfig, without=("select_by",), title="training; what is not given is as in the paper")


def _run(flags: Namespace) -> None:
    given = given_values(flags)
    own = checked_arguments(segment, {name: given.pop(name) for name in _OWN if name in given}, "")
    if own.get("images"):
        _predict(own, given)
    elif own.get("run") is not None:
        raise ValueError("segment RUN needs images to write masks of; to train, name seeds: --seeds SEEDS")
    else:
        _train(own, given)


def _predict(own: dict[str, object], given: dict[str, object]) -> None:
    from looksharp.segmentation.predict import predict_masks
    from looksharp.training.folder import load_run

    device = given.pop("device", "auto")
    other = next((name for name in (*given, *own) if name in (*given, "data", "root", "steps", "resume")), None)
    if other is not None:
        raise SettingError(f"{other} is for training, which takes --seeds and no images")
    run = load_run(_path(own["run"]), str(own.get("checkpoint", "last")), str(device))
    images = own["images"]
    assert isinstance(images, Sequence)
    seeds = own.get("seeds")
    written = predict_masks(
        run,
        images,
        _path(own.get("out", Path("segmented"))),
        crf=bool(own.get("crf", True)),
        seeds=None if seeds is None else _path(seeds),
    )
    print("\n".join(str(path) for path in written))


def _train(own: dict[str, object], given: dict[str, object]) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    from looksharp.training.run import train

    needless = next((name for name in ("crf", "checkpoint") if name in own), None)
    if needless is not None:
        raise SettingError(f"{needless} is for the masks of images: RUN IMAGE ...; training makes none")
    out, resume = own.get("out"), bool(own.get("resume", False))
    if resume and out is not None and (_path(out) / "config.yaml").is_file():
        config = _resumed(own, given, _path(out))
    else:
        if own.get("seeds") is None:
            raise ValueError("segment needs seeds to train on, --seeds SEEDS, or a run and images: RUN IMAGE ...")
        seeds = _path(own["seeds"])
        config = _settings(seeds, own, given)
        out = out or Path("runs") / f"{seeds.name}-sec-{config.training.seed}"
    done = train(config, _path(out), resume=resume)
    last = done.history[-1]
    scores = "  ".join(f"{name} {last[name]:.4f}" for name in ("val_top1", "val_map") if name in last)
    rank_zero_only(print)(f"{done.path}  epoch {int(last['epoch']) + 1}  {scores}  {done.seconds:.0f} s")


def _settings(seeds: Path, own: Mapping[str, object], given: Mapping[str, object]) -> RunConfig:
    """Return the settings of a run on seeds."""
    from looksharp.data.seed_folder import read_seed_folder
    from looksharp.segmentation.preset import STEPS, sec_settings
    from looksharp.training.settings import RunConfig

    known = read_seed_folder(seeds).data["data"]
    if own.get("data", known) != known:
        raise ValueError(f"data must be that of the seeds, {known}; got {own['data']}")
    root, steps = own.get("root"), own.get("steps", STEPS)
    assert isinstance(steps, int)
    return RunConfig.from_flat(sec_settings(seeds, given, steps=steps, root=None if root is None else _path(root)))


def _resumed(own: Mapping[str, object], given: Mapping[str, object], out: Path) -> RunConfig:
    """Return the settings of a run that goes on: its own, under those that are given again or changed."""
    from looksharp.training.folder import read_config
    from looksharp.training.settings import RunConfig

    values = read_config(out).flat()
    seeds = _path(str(values["data"]).removeprefix("seeds:"))
    if _path(own.get("seeds", seeds)).resolve() != seeds.resolve():
        raise ValueError(f"seeds must be those of {out}, {seeds}; got {own['seeds']}")
    changed = dict(given)
    if not own.keys().isdisjoint({"data", "root", "steps"}):
        anew = _settings(seeds, own, {name: values[name] for name in ("backbone", "batch_size")} | changed).flat()
        names = {"root": ("root",), "steps": ("epochs", "every")}
        changed |= {name: anew[name] for flag in names.keys() & own.keys() for name in names[flag]}
    return RunConfig.from_flat(merged_values(values, changed))


def _path(value: object) -> Path:
    return Path(str(value))


COMMANDS.add(
    "segment",
    Command(
        "Learn segmentation from seeds (--seeds SEEDS), or write the masks that a run predicts (RUN IMAGE ...).",
        _add_flags,
        _run,
        "continue with --resume and the same --out",
        place=10,
    ),
)
