"""Train from settings into a run folder, and read a run folder back."""

from __future__ import annotations

import json
import logging
import pickle
import platform
import sys
import time
import warnings
from collections.abc import Iterable
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import save_file
from torch import nn

from looksharp.config import RunConfig
from looksharp.data.build import build_data
from looksharp.data.files import keep_in_memory
from looksharp.data.guided import choose_guided
from looksharp.data.sampling import InOrder, Shuffled
from looksharp.data.split import Augment, BatchLoader, Data, Pixels, Split
from looksharp.files import replacing, write_text
from looksharp.networks import build_network
from looksharp.objectives import OBJECTIVES, Guidance, Objective
from looksharp.training.history import History, read_history
from looksharp.training.module import Training, score_name

__all__ = ["Run", "build_objective", "load_run", "read_config", "train"]


@dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
        path: its folder.
        config: its settings.
        model: the network with its trained weights, in evaluation mode.
        classes: class names.
        pixels: how images become input.
        multilabel: whether an image may have several classes.
        seconds: training time.
    """

    path: Path
    config: RunConfig
    model: nn.Module
    classes: tuple[str, ...]
    pixels: Pixels
    multilabel: bool
    seconds: float

    @property
    def history(self) -> list[dict[str, float]]:
        """One row of logged values an epoch."""
        return read_history(self.path / "metrics.csv")


def build_objective(config: RunConfig) -> Objective:
    """The objective that the settings describe, with guidance if they have any.

    Raises:
        ValueError: if there is no such objective, or it has no such option.
    """
    if config.objective not in OBJECTIVES:
        raise ValueError(f"objective {config.objective!r} is not known; there are {', '.join(OBJECTIVES)}")
    try:
        objective = OBJECTIVES[config.objective](**config.options)
    except TypeError as error:
        raise ValueError(f"objective {config.objective!r}: {error}") from None
    guidance = config.guidance
    if guidance.guidance is None:
        return objective
    return objective + Guidance(
        guidance.guidance_loss,
        guidance.guidance_weight,
        config.options.get("mechanism", "grad_cam"),
        guidance.guidance_layer,
        guidance.guidance_warmup,
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
    and checkpoints/best.ckpt (by validation score), and model.safetensors, the last epoch's weights under the
    names that timm, torchvision or this library give them.

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
    first = (
        getattr(rank_zero_only, "rank", 0) == 0
    )  # with several devices Lightning starts the same command again for each
    if resume and (out / "config.yaml").is_file():
        config = read_config(out)
    elif first and (out / "config.yaml").exists():
        raise ValueError(f"{out} already holds a run; continue it with --resume, or choose another --out")
    _quiet()
    seed_everything(config.training.seed, workers=True, verbose=False)
    data = data or build_data(config.data, config.training.seed)
    data = keep_in_memory(choose_guided(data, config.guidance, config.training.seed))
    objective = build_objective(config)
    model = build_network(config.network.backbone, len(data.classes), pretrained=config.network.pretrained)
    _check_size(model, data.pixels, config.network.backbone)
    training, device = config.training, _device(config.training.device)
    pairs = data.splits["train"].pairs
    guided = pairs.images if pairs is not None else []
    batches = Shuffled(
        len(data.splits["train"]),
        training.batch_size,
        training.seed,
        guided,
        config.guidance.guided_per_batch if guided else 0,
    )
    val = data.splits["val"]

    def load(split: Split, chosen: Iterable[list[int]], augment: Augment) -> BatchLoader:
        return split.loader(
            chosen, data.pixels, augment=augment, seed=training.seed, device=device, workers=training.workers
        )

    train_loader = load(data.splits["train"], batches, training.augment or data.augment)
    val_loader = load(val, InOrder(len(val), 2 * training.batch_size), "none")
    module = Training(
        model,
        objective,
        config.optimization,
        classes=len(data.classes),
        multilabel=data.multilabel,
        steps_per_epoch=max(len(batches) // training.devices, 1),
        epochs=training.epochs,
    )
    if last.is_file():
        _read_weights(last)  # a damaged one is refused in plain words
    facts = _facts(data, config)
    if first:
        write_text(out / "config.yaml", yaml.safe_dump(config.flat(), sort_keys=False))
        _write_facts(out, facts)
    trainer = _trainer(config, out, data.multilabel, batches, progress)
    started = time.perf_counter()
    try:
        with redirect_stdout(sys.stderr):  # where progress bars belong
            trainer.fit(module, train_loader, val_loader, ckpt_path=last if last.is_file() else None, weights_only=True)
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


def read_config(path: Path) -> RunConfig:
    """The settings of a run folder."""
    try:
        values = yaml.safe_load((path / "config.yaml").read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path / 'config.yaml'} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path / 'config.yaml'} must hold a run's settings, name: value; got {values!r:.60}")
    return RunConfig.from_flat(values)


def load_run(path: Path, checkpoint: str = "last", device: str = "auto") -> Run:
    """Read a run folder back.

    Args:
        path: the folder that `train` left.
        checkpoint: "last" or "best".
        device: where the model goes.

    Raises:
        ValueError: if the folder is no run, or has no such checkpoint.
    """
    for name in ("config.yaml", "run.json"):
        if not (path / name).is_file():
            raise ValueError(f"{path} is not a run folder: it has no {name}")
    weights = path / "checkpoints" / f"{checkpoint}.ckpt"
    if not weights.is_file():
        raise ValueError(f"run folder {path} has no checkpoint checkpoints/{checkpoint}.ckpt; train it first")
    config = read_config(path)
    facts = json.loads((path / "run.json").read_text())
    model = build_network(config.network.backbone, len(facts["classes"]))
    state = _read_weights(weights)
    own = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
    model.load_state_dict(own)
    pixels = Pixels(*(tuple(facts["pixels"][name]) for name in ("size", "mean", "std")))
    return Run(
        path,
        config,
        model.eval().to(_device(device)),
        tuple(facts["classes"]),
        pixels,
        facts["multilabel"],
        facts.get("seconds", 0.0),
    )


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except (RuntimeError, OSError, EOFError, KeyError, pickle.UnpicklingError):
        raise ValueError(f"{path} cannot be read as a checkpoint: it is damaged; train again") from None
    return weights


class _Epochs(Callback):
    """Ties all that is drawn at random to the epoch, so that a resumed run draws what an uninterrupted one would."""

    def __init__(self, batches: Shuffled) -> None:
        self.batches = batches

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.batches.set_epoch(trainer.current_epoch)
        torch.manual_seed(self.batches.seed * 1_000_003 + trainer.current_epoch)  # for dropout and its like


def _trainer(config: RunConfig, out: Path, multilabel: bool, batches: Shuffled, progress: bool) -> Trainer:
    score = score_name(multilabel)
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


def _device(name: str) -> torch.device:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    found = accelerator or torch.device("cpu")
    if name == "auto":
        return found
    if name.partition(":")[0] not in ("cpu", found.type):
        raise ValueError(f"device must be auto, cpu or one of this machine's; it has {found.type}; got {name!r}")
    return torch.device(name)


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
        "guided": len(data.splits["train"].pairs.images) if data.splits["train"].pairs is not None else 0,
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
