"""Train from settings into a run folder."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from looksharp.data.build import build_data
from looksharp.data.marked import choose_marked
from looksharp.data.sampling import InOrder, Shuffled, strata_of
from looksharp.data.split import Augment, BatchLoader, Data, Pixels, Split
from looksharp.data.splits.files import keep_in_memory
from looksharp.data.ticked import choose_ticked
from looksharp.files import locked, was_killed, write_text
from looksharp.objectives import Objective
from looksharp.objectives.base import PARTS
from looksharp.objectives.parsing import build_objective
from looksharp.processes.joining import is_lost
from looksharp.processes.place import processes
from looksharp.propagation.keeping import propagated_data
from looksharp.training.checkpoints import WholeCheckpoints
from looksharp.training.compiling import check_compiler, compiled
from looksharp.training.data import fitted_data
from looksharp.training.differing import differing
from looksharp.training.dividing import strategy_of
from looksharp.training.facts import facts_of, read_facts, write_facts
from looksharp.training.folder import Run, build_model, find_device, load_run, read_config
from looksharp.training.following import MapPictures, draws_maps, followed
from looksharp.training.history import History, read_history
from looksharp.training.loggers.base import check_loggers
from looksharp.training.module import Training, score_name
from looksharp.training.quiet import quiet
from looksharp.training.selection import validation_splits
from looksharp.training.settings import RunConfig
from looksharp.training.state import read_checkpoint, save_weights
from looksharp.training.weights import start_from

__all__ = ["prepared_objective", "train"]

_UNFIT = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""Errors of Lightning and torch for a checkpoint of which a part is damaged."""


def prepared_objective(config: RunConfig, data: Data) -> Objective:
    """Build the objective that the settings describe, and prepare its parts on the training images.

    Args:
        config: all settings.
        data: the data set.

    Raises:
        ValueError: if a part or one of its settings is wrong, or the data lack something it needs.
    """
    objective = build_objective(config.objective)
    for part in objective.parts:
        part.prepare(data.splits["train"], data.pixels, config.training.seed)
    return objective


def train(
    config: RunConfig,
    out: Path | str,
    *,
    data: Data | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Train a network and leave a run folder.

    The folder holds config.yaml, run.json (classes, input, versions, time), metrics.csv, checkpoints/last.ckpt
    and checkpoints/best.ckpt (by the validation score that `select_by` names), and model.safetensors, the last
    epoch's weights under the names that timm, torchvision or this library give them.

    Args:
        config: all settings.
        out: the run folder.
        data: the data set, if already built; else it is built from the settings.
        resume: continue a run from its last whole epoch, possibly for more epochs than before.
        progress: show a progress bar.

    Raises:
        ValueError: if a setting or the data is at fault, `out` holds another run, another process is writing it, or
            the loss is not finite.
        OSError: if the disk is full, `out` cannot be written, or another of several processes ended.
    """
    out = Path(out)
    # With several devices Lightning starts the same command again for each.
    first = getattr(rank_zero_only, "rank", 0) == 0
    check_loggers(config.training.logger or [])
    with quiet(), locked(out) if first else nullcontext():
        _check_folder(config, out, resume, first)
        if config.training.compile:
            check_compiler(find_device(config.training.device))
        seed_everything(config.training.seed, workers=True, verbose=False)
        data = data or build_data(config.data, config.training.seed)
        if (out / "run.json").is_file():  # of a run that goes on, whose classes may be more than the data's
            data = fitted_data(data, read_facts(out).classes)
        data = choose_ticked(choose_marked(data, config.marks, config.training.seed), config.marks)
        if config.marks.propagate and any(PARTS[part.name].reads_marks for part in config.objective):
            data = _propagated(config, out, data, progress and first)
        return _fitted(config, out, keep_in_memory(data), first, progress)


def _propagated(config: RunConfig, out: Path, data: Data, progress: bool) -> Data:
    """Propagate marks to all training images, on the device that trains."""
    training = config.training
    return propagated_data(
        data,
        out / "propagated",
        refused=config.marks.propagate_without or (),
        seed=training.seed,
        device=find_device(training.device),
        workers=training.workers,
        progress=progress,
    )


def _check_folder(config: RunConfig, out: Path, resume: bool, first: bool) -> None:
    """Refuse a folder that holds another run."""
    if not (out / "config.yaml").is_file():
        return
    if not resume:
        if first:
            raise ValueError(f"{out} already holds a run; continue it with --resume, or choose another --out")
        return
    known = read_config(out)
    other = differing(known, config, besides=("epochs",))
    if other is not None:
        was, now = known.flat().get(other), config.flat().get(other)
        raise ValueError(f"{out} holds a run of other settings ({other} {was}, now {now}); choose another --out")
    if config.training.epochs < known.training.epochs:
        raise ValueError(
            f"{out} is a run of {known.training.epochs} epochs; it can be continued to more, "
            f"not to {config.training.epochs}"
        )


def _fitted(config: RunConfig, out: Path, data: Data, first: bool, progress: bool) -> Run:
    """Fit the network to the images, and write what is left of it."""
    last = out / "checkpoints" / "last.ckpt"
    if last.is_file():
        read_checkpoint(last, resuming=True)  # a damaged one is refused in plain words
    module, batches, loaders = _prepared(config, data, starts=not last.is_file())
    pictures = MapPictures(data, config.training.logged_maps)
    trainer = _trainer(config, out, data.multilabel, [_Epochs(batches), pictures], progress)
    facts = facts_of(data, config.training.seed)
    if first:
        write_text(out / "config.yaml", yaml.safe_dump(config.flat(), sort_keys=False))
        write_facts(out, facts)
        _say_step(config)
        _say_notes(data, progress)
    started = time.perf_counter()
    with followed(config, out, first) as loggers:
        trainer.loggers = [each.logger for each in loggers]
        pictures.loggers = loggers if draws_maps(config) else []
        with compiled(module.model) if config.training.compile else nullcontext():
            _fit(trainer, module, loaders, out)
    seconds = sum(row["seconds"] for row in read_history(out / "metrics.csv")) or time.perf_counter() - started
    model = load_run(out, device=config.training.device).model if module.divided else module.model
    if first:
        save_weights(out / "model.safetensors", model, config.network.backbone)
        write_facts(out, replace(facts, seconds=seconds))
    return Run(out, config, model.eval(), data.classes, data.pixels, data.multilabel, seconds)


def _fit(trainer: Trainer, module: Training, loaders: tuple[BatchLoader, list[BatchLoader]], out: Path) -> None:
    """Fit, from the last whole epoch where there is one; an end before the first checkpoint leaves no run."""
    last = out / "checkpoints" / "last.ckpt"
    try:
        with redirect_stdout(sys.stderr):  # where progress bars belong
            trainer.fit(module, *loaders, ckpt_path=last if last.is_file() else None, weights_only=True)
    except SystemExit as end:  # so Lightning ends on Ctrl-C, with status 1, and on SIGTERM
        _close_bars(trainer)
        if end.code == 1:
            raise KeyboardInterrupt from None
        raise SystemExit(128 + signal.SIGTERM) from None
    except Exception as error:
        _close_bars(trainer)
        if is_lost(error):
            _tell_of_the_end(out)
        if last.is_file() and not module.started and isinstance(error, _UNFIT):
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]:.80}" if str(error) else type(error).__name__
            raise ValueError(f"{last} is damaged and cannot be continued ({reason}); train again") from None
        if not any((out / "checkpoints").glob("*.ckpt")):  # nothing to go on from: the same --out may be tried again
            for name in ("config.yaml", "run.json", "metrics.csv"):
                (out / name).unlink(missing_ok=True)
            with suppress(OSError):  # there is none
                (out / "checkpoints").rmdir()
        raise


def _tell_of_the_end(out: Path) -> NoReturn:
    """End a process of several, of which another one ended; one of them says so, the first where it can."""
    if getattr(rank_zero_only, "rank", 0):
        if not _first_was_killed(out):
            raise SystemExit(1) from None
        print(file=sys.stderr)  # ends the line of the first one's progress bar
    raise ConnectionError(
        f"another process of this training ended, so that it cannot go on; {out} keeps its last whole epoch: "
        "continue with --resume"
    ) from None


def _first_was_killed(out: Path, seconds: float = 2.0) -> bool:
    """Return whether the first process, which holds the run folder, is killed within some seconds."""
    until = time.monotonic() + seconds
    while not was_killed(out) and time.monotonic() < until:
        time.sleep(0.05)
    return was_killed(out)


def _say_step(config: RunConfig) -> None:
    devices, images = config.training.all_devices, config.training.batch_size
    if devices > 1:
        print(f"each step reads {devices * images} images: {images} on each of {devices} devices", file=sys.stderr)


def _say_notes(data: Data, progress: bool) -> None:
    """Say what was left out or looks odd in the data; run.json keeps it too."""
    for remark, count in data.notes.items() if progress else ():
        print(f"note: {remark}: {count:,}", file=sys.stderr)


def _prepared(
    config: RunConfig, data: Data, starts: bool
) -> tuple[Training, Shuffled, tuple[BatchLoader, list[BatchLoader]]]:
    """Build the module, the order of training batches, and the loaders of training and validation."""
    training, device = config.training, find_device(config.training.device)
    build = partial(build_model, config, len(data.classes), data.pixels, data.multilabel)
    weights = config.network.weights if starts else None
    model = build() if weights is None else start_from(build, Path(weights))
    _check_size(model, data.pixels, config.network.backbone)
    batches = _batches(config, data.splits["train"])
    validation = validation_splits(data, training.select_by, training.seed, device=device, workers=training.workers)

    def load(split: Split, chosen: Iterable[list[int]], augment: Augment) -> BatchLoader:
        return split.loader(
            chosen, data.pixels, augment=augment, seed=training.seed, device=device, workers=training.workers
        )

    module = Training(
        model,
        prepared_objective(config, data),
        config.optimization,
        classes=len(data.classes),
        multilabel=data.multilabel,
        steps_per_epoch=max(len(batches) * processes() // training.all_devices, 1),
        epochs=training.epochs,
        select_by=training.select_by,
        groups=0 if validation[0].groups is None else int(validation[0].groups.max()) + 1,
    )
    module.divided = training.strategy == "fsdp"
    clips = config.optimization.clip is not None
    fusable = training.precision == "32-true" or (training.precision == "bf16-mixed" and not clips)
    module.fused = fusable and not module.divided
    module.external = batches.marked_per_batch
    train_loader = load(data.splits["train"], batches, training.augment or data.augment)
    val_loaders = [
        load(split, InOrder(len(split), 2 * training.batch_size, shared=True), "none") for split in validation
    ]
    return module, batches, (train_loader, val_loaders)


def _batches(config: RunConfig, split: Split) -> Shuffled:
    """Order training batches, with places for marked images."""
    marked = sorted({place for marks in (split.marks, split.pointed) if marks is not None for place in marks.images})
    training = config.training
    return Shuffled(
        len(split),
        training.batch_size,
        training.seed,
        marked,
        config.marks.marked_per_batch if marked else 0,
        strata_of(split, training.balance),
    )


class _Epochs(Callback):
    """Tie all that is drawn at random to the epoch, so that a resumed run draws what an uninterrupted one would."""

    def __init__(self, batches: Shuffled) -> None:
        self.batches = batches

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.batches.set_epoch(trainer.current_epoch)
        torch.manual_seed(self.batches.seed * 1_000_003 + trainer.current_epoch)  # for dropout and its like


class _Bar(TQDMProgressBar):
    """A progress bar without the version of a logger, of which Lightning shows the last letters."""

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


def _trainer(config: RunConfig, out: Path, multilabel: bool, own: list[Callback], progress: bool) -> Trainer:
    score = score_name(multilabel, config.training.select_by)
    callbacks: list[Callback] = [
        *own,
        History(out / "metrics.csv"),
        ModelCheckpoint(out / "checkpoints", "best", monitor=score, mode="max", enable_version_counter=False),
        # Lightning's own `save_last` skips epochs that bring no better score. After "best", whose state it holds.
        ModelCheckpoint(out / "checkpoints", "last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if config.training.patience is not None:
        callbacks.append(EarlyStopping(score, patience=config.training.patience, mode="max"))
    if progress:
        callbacks.append(_Bar(refresh_rate=10))
    return Trainer(
        accelerator=config.training.device,
        devices=config.training.devices,
        num_nodes=config.training.num_nodes,
        strategy=strategy_of(config.training),
        precision=config.training.precision,
        max_epochs=config.training.epochs,
        gradient_clip_val=config.optimization.clip,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,
        use_distributed_sampler=False,
        default_root_dir=out,
    )


def _close_bars(trainer: Trainer) -> None:
    """End the line of an epoch that was left, so that what is said next stands by itself."""
    bars = trainer.progress_bar_callback
    if isinstance(bars, TQDMProgressBar):
        for name in ("val_progress_bar", "train_progress_bar"):
            with suppress(TypeError):  # not begun
                getattr(bars, name).close()


@torch.no_grad()
def _check_size(model: nn.Module, pixels: Pixels, backbone: str) -> None:
    """Try one image, because some networks take one size alone and say so by an assertion."""
    try:
        model.eval()(torch.zeros(1, 3, *pixels.size))
    except (AssertionError, RuntimeError) as error:
        height, width = pixels.size
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"backbone {backbone!r} does not take images of {height} x {width} px: {reason}") from None
    model.train()
