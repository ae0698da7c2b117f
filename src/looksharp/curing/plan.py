"""Plan the trainings of a cure: the run's own settings with guidance, and the baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from looksharp.data.sampling import Balance
from looksharp.data.split import Data, Split
from looksharp.objectives.base import PARTS
from looksharp.objectives.parsing import PartSettings, parse_objective
from looksharp.settings import SettingError
from looksharp.training.settings import MarksConfig, RunConfig

__all__ = [
    "BASELINES",
    "CURE",
    "Defaults",
    "Treatment",
    "baseline",
    "check_baselines",
    "cured",
    "guidance_of",
    "guides",
    "marked_places",
    "with_guidance",
]


@dataclass(frozen=True)
class Defaults:
    """Defaults of a cure.

    Attributes:
        guidance: parts of the objective that read marks.
        cue_guidance: parts of the objective that read what a person called a shortcut.
        marked_share: share of a batch's places that are drawn from the marked images.
        fine_tune_lr: learning rate of fine-tuning, as a share of the run's.
    """

    guidance: str = "agreement"
    cue_guidance: str = "cue_exchange"
    marked_share: float = 0.5
    fine_tune_lr: float = 0.1


CURE = Defaults()
"""The defaults of `looksharp cure`, of the library's `cure` and of the demonstration."""


def marked_places(config: RunConfig) -> int:
    """Return the default number of places for marked images in a batch."""
    return int(CURE.marked_share * config.training.batch_size)


def guidance_of(choice: object, *, of_cues: bool = False) -> tuple[PartSettings, ...]:
    """Return the parts that a choice of guidance names, in any form of the setting `objective`.

    Args:
        choice: the parts.
        of_cues: they read cue marks, not those of objects.

    Raises:
        SettingError: if a name or setting is wrong, or a part reads no such marks.
    """
    parts = parse_objective(choice)
    fitting = [name for name, part in PARTS.items() if (part.reads_cues if of_cues else part.reads_marks)]
    other = next((part.name for part in parts if part.name not in fitting), None)
    if other is not None:
        kind, what = ("cue_guidance", "cue marks") if of_cues else ("guidance", "marks")
        raise SettingError(f"{kind} must be parts that read {what}: {', '.join(fitting)}; got {other!r}")
    return parts


def guides(part: PartSettings) -> bool:
    """Return whether a part of an objective reads marks, of objects or of cues."""
    return PARTS[part.name].reads_marks or PARTS[part.name].reads_cues


def with_guidance(
    config: RunConfig, guidance: Sequence[PartSettings] = (), marks: MarksConfig | None = None
) -> RunConfig:
    """Return a run's settings with its guidance, and its marks if given, replaced."""
    own = tuple(part for part in config.objective if not guides(part))
    return replace(config, objective=(*own, *guidance), marks=config.marks if marks is None else marks)


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
    marks: MarksConfig,
    guidance: object = CURE.guidance,
    *,
    cue_guidance: object = (),
    epochs: int | None = None,
    weights: str | None = None,
) -> RunConfig:
    """Return a run's settings with marks and guidance replaced, and epochs and weights if given.

    Args:
        config: the run's.
        marks: the marked images.
        guidance: parts that read marks; see `guidance_of`.
        cue_guidance: parts that read cue marks, likewise.
        epochs: passes through the training images; the run's own number if not given.
        weights: fine-tune from these, at a lower learning rate; train anew if not given.
    """
    epochs = config.training.epochs if epochs is None else epochs
    parts = (*guidance_of(guidance), *guidance_of(cue_guidance, of_cues=True))
    config = with_guidance(config, parts, marks)
    config = replace(config, training=replace(config.training, epochs=epochs))
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
        lambda config: _balanced(replace(config, objective=(PartSettings("group_dro"),)), "group"),
    ),
    "dfr": ("The run as it was, its last layer fitted again to group-balanced validation images (DFR).", None),
    "gain_ext": (
        "The same batches and marks: what is attended is hidden and nothing of the class must be left, and the map "
        "must equal the mask (GAIN_ext).",
        lambda config: replace(config, objective=parse_objective("gain+squared_error")),
    ),
}
"""Baselines besides guidance: name -> one sentence, and the change to the cure's settings without guidance.
None is DFR."""

_NEED_GROUPS = ("group_balanced", "group_dro", "dfr")


def baseline(name: str, cure: RunConfig) -> Treatment:
    """Return a baseline: it sees the same marked images as often, in as many batches of the same size.

    Args:
        name: of `BASELINES`, or guidance; see `guidance_of`.
        cure: the cure's settings.
    """
    if name not in BASELINES:
        config = with_guidance(cure, guidance_of(name))
        return Treatment(name, f"The same batches and marks, with guidance {name}.", config)
    sentence, change = BASELINES[name]
    unguided = with_guidance(cure)
    return Treatment(name, sentence, None if change is None else change(unguided))


def check_baselines(names: Sequence[str], data: Data) -> None:
    """Refuse baselines that cannot be trained, before anything is trained.

    Raises:
        ValueError: if a name is neither of `BASELINES` nor guidance, comes twice, or needs groups or single
            labels that the data set does not have.
    """
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"compare names {twice} twice")
    for name in names:
        if name not in BASELINES:
            try:
                guidance_of(name)
            except ValueError as error:
                raise ValueError(f"compare must be of {', '.join(BASELINES)}, or guidance: {error}") from None
        _check_splits(name, [data.splits["train"], data.splits["val"]], data.multilabel)


def _check_splits(name: str, splits: Iterable[Split], multilabel: bool) -> None:
    if name in _NEED_GROUPS and any(split.groups is None for split in splits):
        raise ValueError(
            f"compare {name} needs the group of every image, but groups are not known; give the data a groups.csv "
            f"(columns path, group), or leave {name} out"
        )
    if multilabel and name in ("class_balanced", "dfr"):
        raise ValueError(f"compare {name} needs one class for each image, but these may have several; leave it out")
