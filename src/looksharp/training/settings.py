"""A run's settings: plain values, one flat YAML, the same names as the command line's flags."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from looksharp.data.build import DataConfig
from looksharp.data.sampling import Balance

__all__ = [
    "Architecture",
    "GuidanceConfig",
    "NetworkConfig",
    "OptimizationConfig",
    "RunConfig",
    "SelectBy",
    "TrainingConfig",
]

Architecture = Literal["plain", "cam", "attention_branch", "attend_rectify", "spatial_transformer"]
"""What is built around a backbone; see `NetworkConfig`."""

SelectBy = Literal["score", "worst_group", "exchanged_across"]
"""The validation score that chooses the best checkpoint; see `TrainingConfig`."""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network.

    Args:
        backbone: a timm name, torchvision/NAME, cifar_resnet20 to cifar_resnet110, cifar_resnet110_bottleneck,
            cifar_resnext29_8x64, cifar_wrn28_10 or cifar_wrn28_4_drop30 (with dropout 0.3), cifar_densenet100_12, each
            also with other numbers, small, small_deep or clutter_cnn.
        pretrained: start from published weights; needs network access or a local cache of them.
        weights: start from the weights of a run: its model.safetensors, or one of its checkpoints.
        architecture: what is built around the backbone: nothing (plain); class maps that are pooled (cam); an attention
            branch whose map steers the last stage (attention_branch, ABN); gated attention modules at several depths
            (attend_rectify, WARN); or a spatial transformer before it. Each has settings of its own below its name.
        branch_weight: weight of the attention branch's own classification in the loss, for attention_branch.
        diversity_weight: weight of what keeps attention heads apart, for attend_rectify.
    """

    backbone: str = "small"
    pretrained: bool = False
    weights: str | None = None
    architecture: Architecture = "plain"
    branch_weight: float = 1.0
    diversity_weight: float = 0.001


@dataclass(frozen=True)
class GuidanceConfig:
    """Masks or boxes for a few training images.

    Args:
        guidance: a COCO JSON file, a file or folder of CVAT, LabelMe or YOLO, a VOC folder, or a folder of masks laid
            out like the images; "data" for the masks that the data set itself has. No guidance if not given.
        guided: how many training images are guided, drawn by seed: a number, or a share below 1. All that are
            annotated if not given.
        guided_classes: guide these classes alone; all if not given.
        guided_per_batch: places of each batch that are drawn from the guided images; 0 leaves them where they
            fall.
        guidance_boxes: replace every mask by the box around it.
        guidance_loss: what is asked of guided images: one of background_exchange, agreement (which brings the
            exchange along), squared_error, energy, evidence, evidence_all, contrast and rrr, or several joined by
            "+", each with a weight after a colon where it is not to have its own: agreement:0.5+contrast; or none,
            to draw guided images more often and ask nothing of their masks.
        guidance_backgrounds: a folder of photographs that guided objects are moved to, for background_exchange; the
            surroundings of other guided images if not given.
        guidance_layer: the layer that is guided; found in the backbone if not given.
        guidance_warmup: training steps over which the weight rises from 0.
        marks_orientation: whether marks are in coordinates of the upright image, or of the pixels as stored, before
            the EXIF orientation turns them.
        mark_crowds: whether COCO's crowds (iscrowd) are marks too.
    """

    guidance: str | None = None
    guided: float | None = None
    guided_classes: list[str] | None = None
    guided_per_batch: int = 8
    guidance_boxes: bool = False
    guidance_loss: str = "squared_error"
    guidance_backgrounds: str | None = None
    guidance_layer: str | None = None
    guidance_warmup: int = 0
    marks_orientation: Literal["upright", "stored"] = "upright"
    mark_crowds: bool = False


@dataclass(frozen=True)
class OptimizationConfig:
    """How parameters move.

    Args:
        optimizer: sgd (with momentum) or adamw.
        lr: initial learning rate.
        head_lr_factor: factor of the learning rate for the classifier and for what a network adds to its backbone; 10
            for fine-tuning.
        momentum: of sgd.
        nesterov: Nesterov's momentum, for sgd.
        weight_decay: of all parameters.
        schedule: cosine (one cycle, from lr to 0, step by step), step (divided at the milestones) or constant.
        milestones: epochs after which the learning rate is multiplied by gamma, for schedule step.
        gamma: see milestones.
        clip: largest norm of the gradient; no clipping if not given.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    milestones: list[int] = field(default_factory=lambda: [81, 122])
    gamma: float = 0.1
    clip: float | None = None
    head_lr_factor: float = 1.0

    def __post_init__(self) -> None:
        for name in ("lr", "head_lr_factor", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0; got {value:g}")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum > 0):
            raise ValueError(
                f"nesterov needs optimizer sgd with momentum above 0; got {self.optimizer} and {self.momentum:g}"
            )


@dataclass(frozen=True)
class TrainingConfig:
    """How long, and with what.

    Args:
        epochs: passes through the training images.
        batch_size: images a step.
        augment: none, crop (pad by an eighth and crop), crop_flip (and mirror), resize_crop_flip (the shorter side to
            256 for 224 pixels, crop, mirror) or resized_crop_flip (crop at random scale, resize, mirror); what suits
            the data if not given.
        balance: none, or class or group, to draw as many training images of each class, or of each group where
            groups are known.
        seed: of everything drawn at random.
        select_by: the validation score by which the best checkpoint is chosen: score, top-1 accuracy or, of several
            labels, mean average precision; worst_group, accuracy in the group where it is lowest, where groups are
            known; or exchanged_across, accuracy on up to 500 masked validation images in the surroundings of another
            class. Where validation images have the shortcut too, score prefers the network that takes it.
        patience: stop after so many epochs without a better validation score; never if not given.
        precision: 32-true, bf16-mixed or 16-mixed.
        device: auto, cpu, cuda or mps.
        devices: how many of them.
        workers: processes that read image files.
    """

    epochs: int = 10
    batch_size: int = 64
    augment: Literal["none", "crop", "crop_flip", "resize_crop_flip", "resized_crop_flip"] | None = None
    balance: Balance = "none"
    seed: int = 0
    select_by: SelectBy = "score"
    patience: int | None = None
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = 1
    workers: int = 2

    def __post_init__(self) -> None:
        for name, least in {"epochs": 1, "batch_size": 1, "seed": 0, "devices": 1, "workers": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; got {getattr(self, name)}")


_SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "guidance": GuidanceConfig,
    "optimization": OptimizationConfig,
    "training": TrainingConfig,
}


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run.

    Attributes:
        objective: classification, icasc, gain or group_dro.
        options: the objective's own arguments.
        architecture_options: the architecture's own arguments.
        data: which images.
        network: which network.
        guidance: masks or boxes for a few training images.
        optimization: how parameters move.
        training: how long, and with what.
    """

    objective: str = "classification"
    options: dict[str, Any] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    architecture_options: dict[str, Any] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """Every setting by the name of its flag; the objective's and the architecture's own below their names."""
        values: dict[str, Any] = {"objective": self.objective}
        for section in _SECTIONS:
            values |= asdict(getattr(self, section))
        values[self.objective] = dict(self.options)
        if self.network.architecture != "plain":
            values[self.network.architecture] = dict(self.architecture_options)
        return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}

    @classmethod
    def from_flat(cls, values: dict[str, Any]) -> RunConfig:
        """The inverse of `flat`; what is missing takes its default.

        Raises:
            ValueError: if there is a name that is no setting.
        """
        rest = dict(values)
        objective = rest.pop("objective", "classification")
        options = rest.pop(objective, None) or {}
        built = rest.pop(rest.get("architecture", "plain"), None) or {}
        sections = {}
        for name, section in _SECTIONS.items():
            known = {f.name for f in fields(section)}
            chosen = {key: rest.pop(key) for key in list(rest) if key in known}
            if isinstance(chosen.get("root"), str):
                chosen["root"] = Path(chosen["root"])
            sections[name] = section(**chosen)
        if rest:
            raise ValueError(f"{next(iter(rest))!r} is no setting of a run")
        return cls(objective, dict(options), **sections, architecture_options=dict(built))
