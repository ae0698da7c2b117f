"""Follow a run while it trains: its values and a few maps, in the loggers that its settings name."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from looksharp.attention.attend import attend
from looksharp.data.sampling import InOrder
from looksharp.data.split import Data, Split
from looksharp.networks.built_in import built_in_attention, has_built_in_attention
from looksharp.objectives.base import PARTS
from looksharp.training.loggers import LOGGERS, RunLogger
from looksharp.training.settings import RunConfig

__all__ = ["MapPictures", "followed"]


class MapPictures(Callback):
    """Draw where the network looks on a few validation images, after each epoch.

    The network is in evaluation mode then, and no random number is drawn, so that the run is the same without it.

    Args:
        data: the data set.
        count: number of images, which lie evenly over the validation split.

    Attributes:
        loggers: where pictures are kept; none are drawn while there are none.
    """

    def __init__(self, data: Data, count: int) -> None:
        self.data, self.count = data, count
        self.loggers: list[RunLogger] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the maps of the epoch."""
        if not trainer.is_global_zero or not self.loggers:
            return
        try:
            picture = self.drawn(pl_module.get_submodule("model"))
        except ValueError as error:  # a network without maps
            print(f"note: no maps are drawn: {error}", file=sys.stderr)
            self.loggers = []
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"epoch-{trainer.current_epoch:04}.png"
            path.write_bytes(picture)
            for each in self.loggers:
                each.picture(path, trainer.current_epoch, trainer.global_step - 1)  # as the values

    @torch.no_grad()
    def drawn(self, model: torch.nn.Module) -> bytes:
        """Return a PNG: a row per image with the map of its highest-scoring class, or the network's own maps."""
        from looksharp.drawing.figures import attention_grid
        from looksharp.drawing.panel import Panel

        device, split = next(model.parameters()).device, self._split()
        pixels, classes, multilabel = self.data.pixels, self.data.classes, self.data.multilabel
        rows, titles = [], []
        with torch.random.fork_rng():  # a loader draws a seed for its workers
            batch = next(iter(split.loader(InOrder(len(split), self.count), pixels, device=device)))
        logits, maps = _maps(model, batch.image)
        for image, target, scores, found in zip(batch.image, batch.target, logits, maps, strict=True):
            odds = scores.sigmoid() if multilabel else scores.softmax(0)
            best = int(odds.argmax())
            true = bool(target[best] > 0.5) if multilabel else int(target) == best
            title = f"{classes[best]} {float(odds[best]):.0%}"
            heads = [title] if len(found) == 1 else [f"{title}, head {head + 1}" for head in range(len(found))]
            panels = [Panel(head, each.cpu(), emphasis=true) for head, each in zip(heads, found, strict=True)]
            rows.append((pixels.denormalize(image).cpu(), panels))
            titles.append("" if multilabel else classes[int(target)])
        return attention_grid(rows, titles=titles)

    def _split(self) -> Split:
        split = self.data.splits["val"]
        places = torch.linspace(0, len(split) - 1, min(self.count, len(split))).long().unique().tolist()
        try:
            return split.taken(places)
        except ValueError:  # a stream, of which the first images are taken
            return split


def _maps(model: torch.nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (B, C) and maps (B, K, h, w): the last that the network makes itself, or its best class's."""
    if has_built_in_attention(model):
        own = built_in_attention(model, images)
        found = next(iter(own.maps.values()))
        if own.per_class:
            best = own.logits.argmax(1)
            found = found[torch.arange(len(found), device=best.device), best].unsqueeze(1)
        return own.logits, found
    seen = attend(model, images)
    return seen.logits, next(iter(seen.maps.values()))


def draws_maps(config: RunConfig) -> bool:
    """Return True if the loggers of a run are to hold pictures: not of a segmentation, which has no maps of classes."""
    return bool(config.training.logged_maps) and not any(PARTS[part.name].segments for part in config.objective)


@contextmanager
def followed(config: RunConfig, out: Path, first: bool) -> Iterator[list[RunLogger]]:
    """Open the loggers of a run, and close them after it.

    Args:
        config: all settings.
        out: the run folder.
        first: True in the first of several processes, which alone logs.

    Yields:
        The loggers.
    """
    names = config.training.logger or []
    if not names or not first:
        yield []
        return
    last = out / "checkpoints" / "last.ckpt"
    step = _steps(last) if last.is_file() else 0
    if not step:
        shutil.rmtree(out / "logs", ignore_errors=True)  # of a run that ended before its first checkpoint
    known = {name for name in names if any((out / "logs").glob(f"{name}*"))}
    loggers = [LOGGERS.find(name)(out, step) for name in names]
    try:
        for name, each in zip(names, loggers, strict=True):
            if name not in known:
                each.logger.log_hyperparams(config.flat())
        yield loggers
    finally:
        for each in loggers:
            each.close()


def _steps(checkpoint: Path) -> int:
    """Return the training steps before a checkpoint."""
    found = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    return int(found.get("global_step", 0))
