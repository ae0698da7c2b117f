"""Train from settings into a run folder."""

from __future__ import annotations

import json
import logging
import platform
import sys
import time
import warnings
from collections.abc import Iterable
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import save_file
from torch import Tensor, nn

from looksharp.data.backgrounds import read_backgrounds
from looksharp.data.build import build_data
from looksharp.data.marked import choose_marked
from looksharp.data.sampling import InOrder, Shuffled, strata_of
from looksharp.data.split import Augment, BatchLoader, Data, Pixels, Split
from looksharp.data.splits.files import keep_in_memory
from looksharp.files import replacing, write_text
from looksharp.objectives import OBJECTIVES, BranchLoss, GroupDRO, HeadDiversity, Objective, Sum
from looksharp.objectives.base import Part
from looksharp.objectives.group_dro import group_sizes_of
from looksharp.objectives.parsing import guidance_parts
from looksharp.training.folder import Run, build_model, find_device, read_config, read_weights
from looksharp.training.history import History, read_history
from looksharp.training.module import Training, score_name
from looksharp.training.selection import validation_splits
from looksharp.training.settings import RunConfig
from looksharp.training.weights import start_from

__all__ = ["build_objective", "train"]


def build_objective(config: RunConfig, pixels: Pixels, groups: Tensor | None = None) -> Objective:
    """The objective that the settings describe, with guidance if they have any, and with what the architecture needs.

    Args:
        config: all settings.
        pixels: how images become input, for the backgrounds that guidance may name.
        groups: (N,) the groups of the training images, where they are known; `GroupDRO` is told their sizes.

    Raises:
        ValueError: if there is no such objective, or it has no such option.
    """
    if config.objective not in OBJECTIVES:
        raise ValueError(f"objective {config.objective!r} is not known; there are {', '.join(OBJECTIVES)}")
    options = dict(config.options)
    if OBJECTIVES[config.objective] is GroupDRO:
        options["group_sizes"] = options.get("group_sizes") or group_sizes_of(groups)
    try:
        objective = OBJECTIVES[config.objective](**options)
    except TypeError as error:
        raise ValueError(f"objective {config.objective!r}: {error}") from None
    return Sum(objective, *_guidance(config, pixels), *_architecture_parts(config))


def _architecture_parts(config: RunConfig) -> list[Part]:
    """What the network's own attention adds to the loss."""
    network = config.network
    if network.architecture == "attention_branch":
        return [BranchLoss(network.branch_weight, config.options.get("label_smoothing", 0.0))]
    if network.architecture == "attend_rectify":
        return [HeadDiversity(network.diversity_weight)]
    return []


def _guidance(config: RunConfig, pixels: Pixels) -> list[Part]:
    guidance = config.guidance
    if guidance.guidance is None:
        return []
    folder = guidance.guidance_backgrounds
    return guidance_parts(
        guidance.guidance_loss,
        mechanism=config.options.get("mechanism", "grad_cam"),
        layer=guidance.guidance_layer,
        warmup=guidance.guidance_warmup,
        backgrounds=None if folder is None else read_backgrounds(Path(folder), pixels, config.training.seed),
    )


def train(
    config: RunConfig,
    out: Path,
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
        data: the data set, where it is there already; else it is built from the settings.
        resume: continue an interrupted run from its last whole epoch; its own settings count then.
        progress: show a progress bar.

    Raises:
        ValueError: if a setting or the data is at fault, `out` holds another run, or the loss is not finite.
    """
    last = out / "checkpoints" / "last.ckpt"
    # With several devices Lightning starts the same command again for each.
    first = getattr(rank_zero_only, "rank", 0) == 0
    if resume and (out / "config.yaml").is_file():
        config = read_config(out)
    elif first and (out / "config.yaml").exists():
        raise ValueError(f"{out} already holds a run; continue it with --resume, or choose another --out")
    _quiet()
    seed_everything(config.training.seed, workers=True, verbose=False)
    data = data or build_data(config.data, config.training.seed)
    data = keep_in_memory(choose_marked(data, config.guidance, config.training.seed))
    objective = build_objective(config, data.pixels, data.splits["train"].groups)
    build = partial(build_model, config, len(data.classes), data.pixels, data.multilabel)
    weights = config.network.weights if not last.is_file() else None
    model = build() if weights is None else start_from(build, Path(weights))
    _check_size(model, data.pixels, config.network.backbone)
    training, device = config.training, find_device(config.training.device)
    marks = data.splits["train"].marks
    guided = marks.images if marks is not None else []
    batches = Shuffled(
        len(data.splits["train"]),
        training.batch_size,
        training.seed,
        guided,
        config.guidance.guided_per_batch if guided else 0,
        strata_of(data.splits["train"], training.balance),
    )
    validation = validation_splits(data, training.select_by, training.seed, device=device, workers=training.workers)

    def load(split: Split, chosen: Iterable[list[int]], augment: Augment) -> BatchLoader:
        return split.loader(
            chosen, data.pixels, augment=augment, seed=training.seed, device=device, workers=training.workers
        )

    train_loader = load(data.splits["train"], batches, training.augment or data.augment)
    val_loaders = [load(split, InOrder(len(split), 2 * training.batch_size), "none") for split in validation]
    module = Training(
        model,
        objective,
        config.optimization,
        classes=len(data.classes),
        multilabel=data.multilabel,
        steps_per_epoch=max(len(batches) // training.devices, 1),
        epochs=training.epochs,
        select_by=training.select_by,
        groups=0 if validation[0].groups is None else int(validation[0].groups.max()) + 1,
        fused=training.precision != "16-mixed",
    )
    if last.is_file():
        read_weights(last)  # a damaged one is refused in plain words
    facts = _facts(data, config)
    if first:
        write_text(out / "config.yaml", yaml.safe_dump(config.flat(), sort_keys=False))
        _write_facts(out, facts)
    trainer = _trainer(config, out, data.multilabel, batches, progress)
    started = time.perf_counter()
    try:
        with redirect_stdout(sys.stderr):  # where progress bars belong
            trainer.fit(
                module, train_loader, val_loaders, ckpt_path=last if last.is_file() else None, weights_only=True
            )
    except SystemExit:  # so Lightning ends on Ctrl-C
        _close_bars(trainer)
        raise KeyboardInterrupt from None
    except Exception:
        _close_bars(trainer)
        if not last.is_file():  # nothing that could be continued: the same --out may be tried again
            (out / "config.yaml").unlink(missing_ok=True)
        raise
    seconds = sum(row["seconds"] for row in read_history(out / "metrics.csv")) or time.perf_counter() - started
    if first:
        with replacing(out / "model.safetensors") as temporary:
            state = {name: value.contiguous() for name, value in model.state_dict().items()}
            save_file(state, temporary, metadata={"backbone": config.network.backbone})
        _write_facts(out, facts | {"seconds": seconds})
    return Run(out, config, model.eval(), data.classes, data.pixels, data.multilabel, seconds)


class _Epochs(Callback):
    """Ties all that is drawn at random to the epoch, so that a resumed run draws what an uninterrupted one would."""

    def __init__(self, batches: Shuffled) -> None:
        self.batches = batches

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.batches.set_epoch(trainer.current_epoch)
        torch.manual_seed(self.batches.seed * 1_000_003 + trainer.current_epoch)  # for dropout and its like


def _trainer(config: RunConfig, out: Path, multilabel: bool, batches: Shuffled, progress: bool) -> Trainer:
    score = score_name(multilabel, config.training.select_by)
    callbacks: list[Callback] = [
        _Epochs(batches),
        History(out / "metrics.csv"),
        ModelCheckpoint(out / "checkpoints", "best", monitor=score, mode="max", enable_version_counter=False),
        # Lightning's own `save_last` skips epochs that bring no better score. After "best", whose state it holds.
        ModelCheckpoint(out / "checkpoints", "last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if config.training.patience is not None:
        callbacks.append(EarlyStopping(score, patience=config.training.patience, mode="max"))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    return Trainer(
        accelerator=config.training.device,
        devices=config.training.devices,
        precision=config.training.precision,
        max_epochs=config.training.epochs,
        gradient_clip_val=config.optimization.clip,
        callbacks=callbacks,
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


def _facts(data: Data, config: RunConfig) -> dict[str, Any]:
    packages = ("looksharp", "torch", "torchvision", "timm", "lightning")
    return {
        "classes": data.classes,
        "pixels": asdict(data.pixels),
        "multilabel": data.multilabel,
        "data": data.name,
        "images": {name: len(split) for name, split in data.splits.items()},
        "guided": len(data.splits["train"].marks.images) if data.splits["train"].marks is not None else 0,
        "notes": data.notes,
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
        "seed": config.training.seed,
    }


def _write_facts(out: Path, facts: dict[str, Any]) -> None:
    write_text(out / "run.json", json.dumps(facts, indent=2) + "\n")


def _quiet() -> None:
    """Keep Lightning's remarks about hardware and loaders, and torchmetrics' about values, off the terminal."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning|torchmetrics")
