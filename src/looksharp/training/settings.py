"""A run's settings: one validated tree, the same from flags, YAML, a recipe and Python.

The flat form, in which flags and config.yaml write them, has one name for each setting; settings of a part of the
objective, of a data set and of an architecture are nested below its name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Lt
from pydantic import BeforeValidator
from pydantic_core import to_jsonable_python

from looksharp.data.build import DataConfig, below_data
from looksharp.data.sampling import Balance
from looksharp.data.split import Augment
from looksharp.networks.architecture import ARCHITECTURES, BUILT_WITH
from looksharp.objectives.base import PARTS
from looksharp.objectives.parsing import PartSettings, build_objective, parse_objective
from looksharp.settings import SettingError, near_miss, resolved, settings, settings_of
from looksharp.training.former import FORMER
from looksharp.training.loggers import LOGGERS

__all__ = [
    "MarksConfig",
    "NetworkConfig",
    "OptimizationConfig",
    "RunConfig",
    "SelectBy",
    "TrainingConfig",
    "brought_by",
]

SelectBy = Literal["score", "worst_group", "exchanged_across"]
"""The validation score that chooses the best checkpoint; see `TrainingConfig`."""

Share = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1)]


@settings
class NetworkConfig:
    """Settings of the network.

    Args:
        backbone: a timm name, torchvision/NAME, hf:NAME of transformers, package.module:function of your own, which
            returns an nn.Module, cifar_resnet20 to cifar_resnet110, cifar_resnet110_bottleneck,
            cifar_resnext29_8x64, cifar_wrn28_10 or cifar_wrn28_4_drop30 (with dropout 0.3), cifar_densenet100_12, each
            also with other numbers, small, small_deep or clutter_cnn.
        pretrained: start from published weights; needs network access or a local cache of them.
        weights: start from a run's weights: its model.safetensors or one of its checkpoints. Weights of a plain run
            initialise the backbone inside an architecture, whose own parameters are new.
        architecture: network built around the backbone: none (plain); pooled class maps (cam); an attention branch
            whose map steers the last stage (attention_branch, ABN); gated attention modules at several depths
            (attend_rectify, WARN); a spatial transformer before it (spatial_transformer); a conversion to grey before a
            backbone of one channel (greyscale); or a segmentation network (large_fov). Each has settings of its own.
        code: folder that is put on Python's path for a backbone package.module:function; the working folder if not
            given.
        settings: the architecture's own settings; in flat form they stand below its name.
    """

    backbone: str = "small"
    pretrained: bool = False
    weights: str | None = None
    architecture: str = "plain"
    code: Path | None = None
    settings: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture == "plain":
            if self.settings:
                raise SettingError(near_miss(next(iter(self.settings)), (), "plain"))
            return
        if self.architecture not in ARCHITECTURES:
            known = ("plain", *ARCHITECTURES)
            close = difflib.get_close_matches(self.architecture, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise SettingError(f"architecture must be one of {', '.join(known)}; got {self.architecture!r}{hint}")
        found = resolved(ARCHITECTURES[self.architecture], self.settings, self.architecture, BUILT_WITH)
        object.__setattr__(self, "settings", found)


@settings
class MarksConfig:
    """Masks or boxes that people drew on a few training images.

    Args:
        marks: a file or folder of marks, such as a COCO .json file or a folder of masks laid out like the images;
            "data" for the data set's own masks. Parts of the objective read them, such as agreement in
            classification+agreement:0.3.
        marked: number of marked images to use, or a share of the training images below 1, drawn by seed; all if not
            given.
        marked_classes: use marks of these classes alone; all if not given.
        marked_per_batch: number of images of each batch drawn from the marked ones; with 0 all images are drawn alike.
        mark_boxes: replace every mask by the box around it.
        marks_orientation: coordinates of the marks: those of the upright image, or of the pixels as stored, before the
            EXIF orientation turns them.
        mark_crowds: use COCO's crowds (iscrowd) as marks too.
        propagate: mark the object in all training images by a small segmenter that learns from the marked ones; where
            it is unsure an image gets no mark. RUN/propagated/sheet.png shows what it found.
        propagate_without: names of images, as on that sheet, whose mask is wrong and is not to guide; none if not
            given.
        cues: a file of regions by group, as `looksharp cure --cues` leaves it in its folder. Parts of the objective
            read those of a shortcut, such as cue_exchange in classification+cue_exchange.
        shortcut: groups of that file whose regions are a shortcut; all if neither this nor object is given.
        object: groups of that file whose regions are the object, and join the marks.
    """

    marks: str | None = None
    marked: Positive | None = None
    marked_classes: list[str] | None = None
    marked_per_batch: Annotated[int, Ge(0)] = 8
    mark_boxes: bool = False
    marks_orientation: Literal["upright", "stored"] = "upright"
    mark_crowds: bool = False
    propagate: bool = False
    propagate_without: list[str] | None = None
    cues: str | None = None
    shortcut: list[int] | None = None
    object: list[int] | None = None

    def __post_init__(self) -> None:
        if self.propagate_without and not self.propagate:
            raise SettingError("propagate_without refuses masks that propagate finds: set propagate too")
        if self.marked is not None and self.marked >= 1 and self.marked != int(self.marked):
            raise SettingError(f"marked must be a whole number of images, or a share below 1; got {self.marked:g}")
        given = [each.name for each in fields(self) if getattr(self, each.name) != each.default]
        ticked = next((name for name in given if name in ("shortcut", "object")), None)
        if self.cues is None and ticked is not None:
            raise SettingError(f"{ticked} names groups of a file of regions: name it by cues")
        if self.marks is None:
            of_cues = {"marked_per_batch", "cues", "shortcut", "object"} if self.cues is not None else set()
            of_cues |= {"propagate", "propagate_without"} if self.object else set()
            other = next((name for name in given if name not in of_cues), None)
            if other is not None:
                raise SettingError(f"{other} needs marks: name a file or folder of them by marks")


@settings
class OptimizationConfig:
    """Settings of the optimiser and its schedule.

    Args:
        optimizer: sgd (with momentum) or adamw.
        lr: initial learning rate.
        head_lr_factor: factor of the learning rate for the classifier and for an architecture's own parameters; 10 for
            fine-tuning.
        momentum: momentum of sgd.
        nesterov: use Nesterov's momentum, for sgd.
        weight_decay: weight decay of all parameters.
        schedule: cosine (one cycle, from lr to 0, step by step), step (multiplied by gamma at the milestones) or
            constant.
        milestones: epochs after which the learning rate is multiplied by gamma, for schedule step.
        every: training steps after which it is, again and again, in place of the milestones.
        gamma: factor of the learning rate at each milestone.
        clip: clip gradients to this norm; no clipping if not given.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.1
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: list[Count] = field(default_factory=lambda: [81, 122])
    every: Count | None = None
    gamma: Positive = 0.1
    clip: Positive | None = None
    head_lr_factor: Positive = 1.0

    def __post_init__(self) -> None:
        if sorted(self.milestones) != self.milestones:
            raise SettingError(f"milestones must rise; got {', '.join(map(str, self.milestones))}")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum > 0):
            raise SettingError(
                f"nesterov needs optimizer sgd with momentum above 0; got {self.optimizer} and {self.momentum:g}"
            )


@settings
class TrainingConfig:
    """Length of training, the batches it reads, and the checkpoint to keep.

    Args:
        epochs: passes through the training images.
        batch_size: images per step of each device: with 2 devices on each of 2 machines a step reads four times as
            many, and an epoch has a quarter of the steps. The learning rate stays as given.
        augment: none, flip (mirror), crop (pad by an eighth and crop), crop_flip (and mirror), resize_crop_flip (the
            shorter side to 256 for 224 pixels, crop, mirror) or resized_crop_flip (crop at random scale, resize,
            mirror); the data set's own if not given.
        balance: draw equally many training images of each class, or of each group where groups are known; none draws
            each image once per epoch.
        seed: seed of everything drawn at random.
        select_by: validation score that chooses the best checkpoint: score, top-1 accuracy or, for multi-label images,
            mean average precision; worst_group, the lowest accuracy of a group, where groups are known; or
            exchanged_across, accuracy on up to 500 marked validation images in the surroundings of another class. If
            validation images have the shortcut too, score prefers a network that takes it.
        patience: stop after this many epochs without a better validation score; never if not given.
        precision: 32-true, bf16-mixed or 16-mixed.
        device: auto, cpu, cuda or mps.
        devices: number of devices of each machine.
        num_nodes: number of machines; torchrun or SLURM starts a process for each device.
        strategy: how devices share the work, where there are several. ddp: each holds the whole network, and gradients
            are averaged; auto is the same. fsdp: each holds its share of the optimiser's state, and between steps of
            weights and gradients, for networks whose training one device cannot hold.
        workers: processes that read image files, for each device.
        compile: compile the network by torch's compiler. It takes minutes at first, and on a CPU a C++ compiler. Steps
            whose objective reads attention maps run eagerly all the same; validation is compiled.
        logger: where the run can be followed, separated by commas: csv, tensorboard, wandb (offline, unless
            WANDB_MODE=online) or mlflow (a file store, unless MLFLOW_TRACKING_URI names a server), all below RUN/logs.
        logged_maps: number of validation images whose maps each epoch's picture in the loggers shows.
    """

    epochs: Count = 10
    batch_size: Count = 64
    augment: Augment | None = None
    balance: Balance = "none"
    seed: Annotated[int, Ge(0)] = 0
    select_by: SelectBy = "score"
    patience: Count | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Count = 1
    num_nodes: Count = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    workers: Annotated[int, Ge(0)] = 2
    compile: bool = False
    logger: Annotated[list[str] | None, LOGGERS] = None
    logged_maps: Annotated[int, Ge(0)] = 4

    def __post_init__(self) -> None:
        for name in self.logger or ():
            LOGGERS.find(name)

    @property
    def all_devices(self) -> int:
        """Return the number of devices of all machines together, each of which reads a batch a step."""
        return self.devices * self.num_nodes


def _parts(value: object) -> object:
    """Read an objective in one of the forms that `parse_objective` knows."""
    if isinstance(value, tuple) and all(isinstance(part, PartSettings) for part in value):
        return value
    return parse_objective(value)


@settings
class RunConfig:
    """All settings of a run.

    Args:
        objective: parts of the objective, exactly one of which classifies (or one segments), or the short form,
            "icasc+agreement:0.3".
            The architecture's own parts are added.
        data: the images.
        network: the network.
        marks: masks or boxes for a few training images.
        optimization: the optimiser and its schedule.
        training: length of training, its batches, and the checkpoint to keep.

    Raises:
        SettingError: if settings contradict each other.
    """

    objective: Annotated[tuple[PartSettings, ...], BeforeValidator(_parts)] = (PartSettings("classification"),)
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    marks: MarksConfig = field(default_factory=MarksConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        classifying = [part.name for part in self.objective if PARTS.find(part.name).classifies]
        segmenting = any(PARTS.find(part.name).segments for part in self.objective)
        if len(classifying) != 1 and not (segmenting and not classifying):
            got = "+".join(part.name for part in self.objective) or "nothing"
            raise SettingError(f"objective needs one part that classifies, such as classification; got {got}")
        asked = next((part.name for part in self.objective if PARTS[part.name].reads_marks), None)
        if asked is not None and self.marks.marks is None and not self.marks.object:
            raise SettingError(f"objective part {asked} reads marks, but there are none: name a file of them by marks")
        pointed = next((part.name for part in self.objective if PARTS[part.name].reads_cues), None)
        if pointed is not None and self.marks.cues is None:
            raise SettingError(f"objective part {pointed} reads cue marks, but there are none: name a file by cues")
        parts = tuple(
            PartSettings(part.name, resolved(PARTS[part.name], part.settings, part.name))
            for part in (*self.objective, *self._brought())
        )
        build_objective(parts)  # so that a value which a part refuses is refused here
        object.__setattr__(self, "objective", parts)

    def part(self, name: str) -> PartSettings | None:
        """Return the part of that name, or None."""
        return next((part for part in self.objective if part.name == name), None)

    @property
    def objective_name(self) -> str:
        """Return the parts' names joined by "+", without those that the architecture brings."""
        brought = brought_by(self.network.architecture)
        return "+".join(part.name for part in self.objective if part.name not in brought)

    def _brought(self) -> list[PartSettings]:
        """Return the parts that the architecture brings; they share its settings and the classification's by name."""
        own = next((part for part in self.objective if PARTS[part.name].classifies), None)
        shared = {**(own.settings if own else {}), **self.network.settings}
        missing = [name for name in brought_by(self.network.architecture) if self.part(name) is None]
        return [
            PartSettings(name, {key: shared[key] for key in settings_of(PARTS.find(name)) if key in shared})
            for name in missing
        ]

    def flat(self) -> dict[str, Any]:
        """Return every setting by the name of its flag, as config.yaml holds them."""
        values: dict[str, object] = {"objective": [{part.name: dict(part.settings)} for part in self.objective]}
        for name, below in _SECTIONS.items():
            section = getattr(self, name)
            values |= {each.name: getattr(section, each.name) for each in fields(section) if each.name != "settings"}
            if below is not None and section.settings:
                values[below_data(getattr(section, below))] = section.settings
        return {name: to_jsonable_python(value) for name, value in values.items()}

    @classmethod
    def from_flat(cls, values: Mapping[str, object]) -> RunConfig:
        """Make settings from their flat form; missing ones take their defaults.

        Raises:
            SettingError: if a name, type or value is wrong.
        """
        rest = dict(values)
        for name, now in FORMER.items():
            if name in rest:
                raise SettingError(f"{name!r} is a setting of an earlier version; {now}")
        network = _section(NetworkConfig, "architecture", rest)
        data = _section(DataConfig, "data", rest)
        marks, optimization = _section(MarksConfig, None, rest), _section(OptimizationConfig, None, rest)
        training = _section(TrainingConfig, None, rest)
        brought = brought_by(network.architecture)
        objective = _objective(rest.pop("objective", "classification"), rest, brought)
        if rest:
            raise SettingError(near_miss(str(next(iter(rest))), known_settings()))
        return cls(objective, data, network, marks, optimization, training)


_SECTIONS: dict[str, str | None] = {
    "data": "data",
    "network": "architecture",
    "marks": None,
    "optimization": None,
    "training": None,
}
"""Section of `RunConfig` -> its setting that names a thing with settings of its own."""

_KINDS = (DataConfig, NetworkConfig, MarksConfig, OptimizationConfig, TrainingConfig)
Section = TypeVar("Section", DataConfig, NetworkConfig, MarksConfig, OptimizationConfig, TrainingConfig)


def known_settings() -> list[str]:
    """Return the names of all settings but those that stand below another name."""
    return ["objective", *(each.name for kind in _KINDS for each in fields(kind) if each.name != "settings")]


def _objective(value: object, rest: dict[str, object], brought: Sequence[str]) -> tuple[PartSettings, ...]:
    """Read the objective, with the settings of its parts that stand below their names, and take those out."""
    named = {part.name: dict(part.settings) for part in parse_objective(value)}
    named |= {name: {} for name in brought if name not in named and name in rest}
    return tuple(PartSettings(name, own | _below(rest.pop(name, None), name)) for name, own in named.items())


def _below(values: object, name: str) -> dict[str, object]:
    if values is not None and not isinstance(values, Mapping):
        raise SettingError(f"{name} must be settings, name: value; got {values!r:.60}")
    return dict(values or {})


def _section(kind: type[Section], below: str | None, rest: dict[str, object]) -> Section:
    """Make a section from the flat values that are its own, and take them out.

    Args:
        kind: the section's class.
        below: its setting that names a thing with settings of its own.
        rest: flat values that no section has taken yet.
    """
    chosen = {each.name: rest.pop(each.name) for each in fields(kind) if each.name in rest and each.name != "settings"}
    if below is not None:
        value = chosen.get(below, next(each.default for each in fields(kind) if each.name == below))
        key = below_data(value) if isinstance(value, str) else None
        if key in rest:
            chosen["settings"] = _below(rest.pop(key), key)
    make: Callable[..., Section] = kind
    return make(**chosen)


def brought_by(architecture: str) -> tuple[str, ...]:
    """Return the names of the parts that an architecture brings."""
    return ARCHITECTURES[architecture].loss_parts if architecture in ARCHITECTURES else ()
