"""What a cure trains: a run's own settings with guidance, and what it may be compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from looksharp.data.sampling import Balance
from looksharp.data.split import Data, Split
from looksharp.objectives.parsing import guidance_parts
from looksharp.training.settings import GuidanceConfig, RunConfig

__all__ = ["BASELINES", "CURE", "Defaults", "Treatment", "baseline", "check_baselines", "cured", "guided_places"]


@dataclass(frozen=True)
class Defaults:
    """What a cure does unless one says otherwise.

    Attributes:
        guidance_loss: see `GuidanceConfig`.
        guided_share: share of a batch's places that are drawn from the guided images.
        fine_tune_lr: the learning rate of fine-tuning, as a share of the run's.
    """

    guidance_loss: str = "agreement:0.3"
    guided_share: float = 0.5
    fine_tune_lr: float = 0.1


CURE = Defaults()
"""The defaults of `looksharp cure`, of the library's `cure` and of the demonstration."""


def guided_places(config: RunConfig) -> int:
    """Places of a batch for guided images, where a cure of these settings leaves the number open."""
    return int(CURE.guided_share * config.training.batch_size)


@dataclass(frozen=True)
class Treatment:
    """One training of a cure.

    Attributes:
        name: short; of its column and of its run folder.
        description: one sentence.
        config: its settings; None for the reweighted last layer, which needs no training.
    """

    name: str
    description: str
    config: RunConfig | None


def cured(
    config: RunConfig,
    guidance: GuidanceConfig,
    *,
    epochs: int | None = None,
    weights: str | None = None,
) -> RunConfig:
    """A run's settings with guidance in place of what it had.

    Args:
        config: the run's.
        guidance: which images guide, and how.
        epochs: passes through the training images; the run's own number if not given.
        weights: fine-tune from these, at a lower learning rate; train anew if not given.
    """
    epochs = config.training.epochs if epochs is None else epochs
    config = replace(config, guidance=guidance, training=replace(config.training, epochs=epochs))
    if weights is None:
        return config
    return replace(
        config,
        network=replace(config.network, weights=weights),
        optimization=replace(config.optimization, lr=CURE.fine_tune_lr * config.optimization.lr),
    )


def _balanced(config: RunConfig, balance: Balance) -> RunConfig:
    return replace(config, training=replace(config.training, balance=balance))


BASELINES: dict[str, tuple[str, Callable[[RunConfig], RunConfig] | None]] = {
    "labels": (
        "The same batches, and class labels alone: marked images come as often, their marks are not used.",
        replace,
    ),
    "class_balanced": (
        "The same batches and class labels alone, with equally many images of every class.",
        lambda config: _balanced(config, "class"),
    ),
    "group_balanced": (
        "The same batches and class labels alone, with equally many images of every group.",
        lambda config: _balanced(config, "group"),
    ),
    "group_dro": (
        "The same batches; groups drawn equally often, and those that do worst weigh most (GroupDRO).",
        lambda config: _balanced(replace(config, objective="group_dro", options={}), "group"),
    ),
    "dfr": ("The run as it was, its last layer fitted again to group-balanced validation images (DFR).", None),
    "gain_ext": (
        "The same batches and marks: what is attended is hidden and nothing of the class must be left, and the map "
        "must equal the mask (GAIN_ext).",
        lambda config: replace(
            config,
            objective="gain",
            options={},
            guidance=replace(config.guidance, guidance_loss="squared_error"),
        ),
    ),
}
"""What `--compare` knows besides a guidance loss: name -> one sentence, and what it makes of the cure's settings
without their guidance loss. None is DFR."""

_NEED_GROUPS = ("group_balanced", "group_dro", "dfr")


def baseline(name: str, cure: RunConfig) -> Treatment:
    """What a cure is compared with: the same marked images, as often in as many batches of the same size.

    Args:
        name: of `BASELINES`, or a guidance loss (see `GuidanceConfig`).
        cure: the cure's settings.
    """
    if name not in BASELINES:
        config = replace(cure, guidance=replace(cure.guidance, guidance_loss=name))
        return Treatment(name, f"The same batches and marks, with guidance loss {name}.", config)
    sentence, change = BASELINES[name]
    unguided = replace(cure, guidance=replace(cure.guidance, guidance_loss="none"))
    return Treatment(name, sentence, None if change is None else change(unguided))


def check_baselines(names: Sequence[str], data: Data) -> None:
    """Refuse what could not be compared, before anything is trained.

    Raises:
        ValueError: if a name is neither of `BASELINES` nor a guidance loss, comes twice, or needs groups or single
            labels that the data set does not have.
    """
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"compare names {twice} twice")
    for name in names:
        if name not in BASELINES:
            try:
                guidance_parts(name)
            except ValueError as error:
                raise ValueError(f"compare must be of {', '.join(BASELINES)}, or a guidance loss: {error}") from None
        _check_splits(name, [data.splits["train"], data.splits["val"]], data.multilabel)


def _check_splits(name: str, splits: Iterable[Split], multilabel: bool) -> None:
    if name in _NEED_GROUPS and any(split.groups is None for split in splits):
        raise ValueError(
            f"compare {name} needs the group of every image, but groups are not known; give the data a groups.csv "
            f"(columns path, group), or leave {name} out"
        )
    if multilabel and name in ("class_balanced", "dfr"):
        raise ValueError(f"compare {name} needs one class for each image, but these may have several; leave it out")
