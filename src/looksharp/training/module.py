"""The LightningModule: an objective, an optimiser and a schedule around a network."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy, MultilabelAveragePrecision

from looksharp.attention.recording import logits_of
from looksharp.batch import Batch
from looksharp.interventions.intervene import answered
from looksharp.metrics import mean_average_precision
from looksharp.metrics.grouped import GroupedMean
from looksharp.networks.head_parameters import head_parameters
from looksharp.objectives import Objective
from looksharp.objectives.classification import classification_loss
from looksharp.training.dividing import agree_on_buffers, divide, put_away
from looksharp.training.settings import OptimizationConfig, SelectBy
from looksharp.training.state import check_finite

__all__ = ["NonFiniteLossError", "Training", "learning_rate_factor", "score_name"]


class NonFiniteLossError(ValueError):
    """Training diverged."""


def score_name(multilabel: bool, select_by: SelectBy = "score") -> str:
    """Return the logged name of the validation score that compares checkpoints; see `TrainingConfig`.

    Example:
        >>> score_name(multilabel=False), score_name(multilabel=True), score_name(False, "worst_group")
        ('val_top1', 'val_map', 'val_worst_group')

    """
    if select_by == "score":
        return "val_map" if multilabel else "val_top1"
    return f"val_{select_by}"


def learning_rate_factor(config: OptimizationConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the factor of the initial learning rate at a training step.

    "cosine" is cyclic cosine annealing (Huang et al. 2017, "Snapshot Ensembles", Eq. 2) with one cycle.
    """
    if config.schedule == "cosine":
        return (1 + math.cos(math.pi * min(step / max(steps_per_epoch * epochs, 1), 1))) / 2
    if config.schedule == "step" and config.every is not None:
        return config.gamma ** (step // config.every)
    if config.schedule == "step":
        return config.gamma ** sum(step // steps_per_epoch >= milestone for milestone in config.milestones)
    return 1.0


class Training(LightningModule):
    """One training run.

    Args:
        model: any classifier.
        objective: the objective that a step minimises.
        config: optimiser and schedule.
        classes: number of classes.
        multilabel: True if targets are multi-hot.
        steps_per_epoch: training batches an epoch.
        epochs: number of planned epochs, at whose end the cosine schedule ends.
        select_by: score that chooses the best checkpoint. "exchanged_across" needs a second validation loader of
            objects in others' surroundings, with their classes (B,) as targets.
        groups: number of groups in the validation split, for "worst_group".
    """

    external: int = 0
    """Number of last images of every training batch that are drawn for their marks; see `Batch.external`."""
    fused: bool = True
    """True if the optimiser steps over all weights at once; not where the loss is scaled (16-mixed), nor where
    gradients are clipped in mixed precision, which Lightning cannot do there."""

    divided: bool = False
    """True if weights are divided among the devices that train; see `divide`."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        config: OptimizationConfig,
        *,
        classes: int,
        multilabel: bool,
        steps_per_epoch: int,
        epochs: int,
        select_by: SelectBy = "score",
        groups: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.objective, self.config = model, objective, config
        self.multilabel, self.steps_per_epoch, self.epochs = multilabel, steps_per_epoch, epochs
        self.score: Metric = (
            MultilabelAveragePrecision(classes, average=None, ignore_index=-1)  # unknown targets
            if multilabel
            else MulticlassAccuracy(classes, average="micro")
        )
        self.score_name = score_name(multilabel)
        self.val_loss = MeanMetric()
        self.worst_group = GroupedMean({"group": groups}) if select_by == "worst_group" else None
        self.exchanged_across = MeanMetric() if select_by == "exchanged_across" else None
        self.started = False  # True once a checkpoint, if there is one, was restored

    def configure_model(self) -> None:
        """Divide the weights among devices, where that is asked for."""
        if self.divided and self.device_mesh is not None:
            divide(self.model, self.device_mesh["data_parallel"])

    def on_after_backward(self) -> None:
        """Put weights that are divided away before they change."""
        put_away(self.model)

    def on_train_start(self) -> None:
        """Mark training as started: all has been set up and restored."""
        self.started = True

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one step of the objective and log its terms one by one."""
        step = self.objective(self.model, replace(batch, external=self.external))
        self._check_finite(step.loss, batch_idx)
        terms = {f"train_{name}": value for name, value in step.terms.items()}
        logged = {"train_loss": step.loss.detach(), **terms}
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)
        self.log("loss", step.loss.detach(), prog_bar=True, logger=False, on_step=True)
        return step.loss

    def on_validation_epoch_start(self) -> None:
        """Refuse weights that the epoch's last step spoilt, before a checkpoint of them takes a good one's place."""
        agree_on_buffers(self.model)
        try:
            check_finite(self.model.state_dict(), f"the weights after epoch {self.current_epoch}")
        except ValueError as error:
            raise NonFiniteLossError(str(error)) from None

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure classification alone; `evaluate` measures attention."""
        logits = logits_of(self.model(batch.image))
        if dataloader_idx and self.exchanged_across is not None:
            self.exchanged_across.update(answered(logits, batch.target, self.multilabel).float())
            return
        self.val_loss.update(classification_loss(logits, batch), len(batch))
        target = batch.target.long() if batch.multilabel else batch.target
        self.score.update(logits.sigmoid() if batch.multilabel else logits, target)
        if self.worst_group is not None and batch.group is not None:
            self.worst_group.update(logits.argmax(1) == batch.target, group=batch.group)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's score, and the one that chooses the best checkpoint."""
        score = self.score
        value = mean_average_precision(score) if isinstance(score, MultilabelAveragePrecision) else score.compute()
        self.log(self.score_name, value, prog_bar=True)
        self.log("val_loss", self.val_loss.compute())
        if self.worst_group is not None:
            accuracy = self.worst_group.compute().groups["group"]
            self.log("val_worst_group", accuracy.nan_to_num(1).min(), prog_bar=True)  # NaN: a group without images
            self.worst_group.reset()
        if self.exchanged_across is not None:
            self.log("val_exchanged_across", self.exchanged_across.compute(), prog_bar=True)
            self.exchanged_across.reset()
        self.score.reset()
        self.val_loss.reset()

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and its schedule step by step."""
        config, parameters = self.config, self._parameter_groups()
        optimizer: torch.optim.Optimizer
        if config.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                parameters,
                config.lr,
                config.momentum,
                weight_decay=config.weight_decay,
                nesterov=config.nesterov,
                fused=self.fused,
            )
        else:
            optimizer = torch.optim.AdamW(parameters, config.lr, weight_decay=config.weight_decay, fused=self.fused)
        schedule = LambdaLR(
            optimizer, lambda step: learning_rate_factor(config, step, self.steps_per_epoch, self.epochs)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Divide what is trained into groups; the head's learning rate may differ."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        if self.config.head_lr_factor == 1:
            return [{"params": trained}]
        ids = {id(p) for p in head_parameters(self.model)}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if id(p) not in ids]},
            {"params": [p for p in trained if id(p) in ids], "lr": self.config.lr * self.config.head_lr_factor},
        ]
        return [group for group in groups if group["params"]]

    def _check_finite(self, loss: Tensor, batch: int) -> None:
        # On an accelerator reading the loss waits for the device, so only now and then.
        asked = loss.device.type == "cpu" or batch % 50 == 0 or self.trainer.is_last_batch
        if asked and not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss is {loss.item()} at epoch {self.current_epoch}, step {batch}: lower --lr "
                f"(now {self.config.lr:g}), clip gradients with --clip 1, or check the images"
            )
