"""The Attention Branch Network: a map from an attention branch, computed in the forward, steers the last stage."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from looksharp.attention.layout import pair
from looksharp.attention.recording import logits_of
from looksharp.attention.threads import hook_here
from looksharp.attention.wrapping import Wrapping
from looksharp.networks.architecture import ARCHITECTURES, Attending, OwnMaps
from looksharp.networks.cutting import at_stride_one, find_stage, replace_stage, stage_channels, stage_input

__all__ = ["AttendedStage", "AttentionBranch", "AttentionBranchNetwork", "Explained", "WithMap"]

Preset = Literal["paper", "official_code"]


class Explained(NamedTuple):
    """The result of one forward: logits (B, C), the branch's own logits (B, C) and its maps (B, T, h, w)."""

    logits: Tensor
    branch_logits: Tensor
    maps: Tensor


class AttentionBranch(nn.Module):
    """Classify from a class map, and make an attention map of it.

    ABN Sec. 3.1 and Fig. 2b: a copy of the last stage at stride 1; BatchNorm; a 1x1 convolution to K classes,
    BatchNorm, ReLU; then a 1x1 convolution to K, whose average over positions is the branch's classification
    (`class_maps`, `pool`), and a convolution to one channel, BatchNorm and sigmoid, which is the map
    (`attention`). Both come through `record`: `pool` (B, K, 1, 1), `attention` (B, 1, h, w).

    For several tasks (Sec. 3.4 and Fig. 3) a 1x1 convolution gives a map for each of T attributes, whose average
    is the attribute's score and whose sigmoid is its attention, (B, T, h, w).

    Args:
        stage: the copy, at stride 1.
        channels: channels of its output.
        classes: K, or T.
        convolutions: number of 3x3 convolutions that replace a classifier's fully connected layers (VGG).
        multitask: a map for each class.
        preset: "official_code" makes the one map by a 3x3 convolution; with several tasks it takes the maximum over
            positions as the score, and the raw maps as attention.
    """

    def __init__(
        self,
        stage: nn.Module,
        channels: int,
        classes: int,
        *,
        convolutions: int = 0,
        multitask: bool = False,
        preset: Preset = "paper",
    ) -> None:
        super().__init__()
        self.stage = stage
        self.connected = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()) for _ in range(convolutions))
        )
        self.head = nn.Sequential(
            nn.BatchNorm2d(channels), nn.Conv2d(channels, classes, 1, bias=False), nn.BatchNorm2d(classes), nn.ReLU()
        )
        official = preset == "official_code"
        self.class_maps = nn.Conv2d(classes, classes, 1, bias=False)
        self.pool: nn.Module = nn.AdaptiveMaxPool2d(1) if multitask and official else nn.AdaptiveAvgPool2d(1)
        self.attention: nn.Module
        if multitask:
            self.head = nn.Sequential(nn.BatchNorm2d(channels))
            self.class_maps = nn.Conv2d(channels, classes, 1, bias=False)
            self.attention = nn.Identity() if official else nn.Sigmoid()
        else:
            kernel = 3 if official else 1
            self.attention = nn.Sequential(
                nn.Conv2d(classes, 1, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(1), nn.Sigmoid()
            )
        self.multitask = multitask
        for module in (*self.connected.modules(), *self.head.modules(), self.class_maps, *self.attention.modules()):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps (B, 1, h, w), or (B, T, h, w), and the branch's logits (B, K) for features (B, C, h, w)."""
        features = self.head(self.connected(self.stage(features)))  # (B, K, h, w)
        class_maps = self.class_maps(features)  # (B, K, h, w)
        maps: Tensor = self.attention(class_maps if self.multitask else features)
        return maps, self.pool(class_maps).flatten(1)


class AttendedStage(nn.Module):
    """A backbone's last stage, on features that the attention branch weighs (ABN Eq. 1, 2 and 4).

    Args:
        branch: the branch that makes the maps.
        stage: the last stage.
        residual: x * (1 + M) rather than x * M.
    """

    def __init__(self, branch: AttentionBranch, stage: nn.Module, residual: bool) -> None:
        super().__init__()
        self.branch, self.stage, self.residual = branch, stage, residual

    def forward(self, features: Tensor) -> Tensor:
        """Return the stage's output, (B, ...), or (B T, ...), image by image, where there are T maps."""
        maps, _ = self.branch(features)  # (B, T, h, w)
        weights = 1 + maps if self.residual else maps
        attended = features.unsqueeze(1) * weights.unsqueeze(2)  # (B, T, C, h, w)
        output: Tensor = self.stage(attended.flatten(0, 1))
        return output


@ARCHITECTURES.register("attention_branch")
class AttentionBranchNetwork(Wrapping, Attending):
    """Any backbone with an attention branch: the map that explains a decision also takes part in it.

    ABN (Fukui et al. 2019). The backbone is cut before its last stage. The part before the cut is the feature
    extractor; an `AttentionBranch` that starts as a copy of the last stage, weights included, makes a map of its
    features; the last stage and the classifier, the perception branch, read the features weighed by the map
    (Eq. 2). In training add the branch's own classification to the loss (Eq. 3): `objective + BranchLoss()`.

    `forward` gives the perception branch's logits, so that the network drops into any loop. The map needs no
    backward: `explained`, `with_map` for export, or `record` at `map_layer`.

    With `multitask` every class is an attribute with a map of its own. The feature extractor runs once, and the
    perception branch once per map. It has two outputs per attribute and returns their difference, whose sigmoid is
    the probability by the two outputs' softmax. In training mode BatchNorm sees all T runs
    together. Give the backbone two outputs for each attribute.

    Args:
        backbone: a classifier whose last stage is a module, or the end of an `nn.Sequential`. It is changed: its last
            stage becomes an `AttendedStage`.
        image_size: pixels, (height, width) or a side, at which the last stage is found and channels are counted; the
            network takes images of any size that the backbone takes.
        cut: name of the module at which the last stage begins; found if not given.
        residual: weigh features by x * (1 + M), Eq. 2, and not x * M, Eq. 1. If not given, Eq. 2, or Eq. 4 (x * M) for
            several tasks.
        multitask: treat every class as a binary attribute with a map of its own.
        preset: "paper" or "official_code"; see `AttentionBranch`.

    Raises:
        ValueError: if no last stage is found, or it cannot run at stride 1.

    Example:
        >>> import torch
        >>> from looksharp.networks import CifarResNet
        >>> network = AttentionBranchNetwork(CifarResNet(20, 10), image_size=32).eval()
        >>> logits, branch_logits, maps = network.explained(torch.rand(2, 3, 32, 32))
        >>> tuple(logits.shape), tuple(branch_logits.shape), tuple(maps.shape)
        ((2, 10), (2, 10), (2, 1, 16, 16))

    """

    loss_parts: ClassVar[tuple[str, ...]] = ("branch",)

    def __init__(
        self,
        backbone: nn.Module,
        *,
        image_size: int | tuple[int, int] = 224,
        cut: str | None = None,
        residual: bool | None = None,
        multitask: bool = False,
        preset: Preset = "paper",
    ) -> None:
        super().__init__()
        if preset not in ("paper", "official_code"):
            raise ValueError(f"preset must be paper or official_code; got {preset!r}")
        size = pair(image_size)
        found = find_stage(backbone, size, cut)
        features, outputs = stage_input(backbone, found.name, size)
        if multitask and outputs % 2:
            raise ValueError(f"backbone must have two outputs for each attribute; it has {outputs}")
        self.multitask, self.classes = multitask, outputs // 2 if multitask else outputs
        self.residual = not multitask if residual is None else residual

        def attend(stage: nn.Module) -> nn.Module:
            copied = at_stride_one(stage)
            branch = AttentionBranch(
                copied,
                stage_channels(copied, features, found.name),
                self.classes,
                convolutions=found.hidden,
                multitask=multitask,
                preset=preset,
            )
            return AttendedStage(branch.to(features.device), stage, self.residual)

        replace_stage(backbone, found, attend)
        self.backbone = backbone
        self.map_layer = f"backbone.{found.name}.branch.attention"
        self.branch_layer = f"backbone.{found.name}.branch.pool"

    @classmethod
    def backbone_outputs(cls, classes: int, multilabel: bool, settings: Mapping[str, Any]) -> int:
        """Return one output for each class; two for each attribute of several tasks."""
        if not settings.get("multitask"):
            return classes
        if not multilabel:
            raise ValueError("attention_branch multitask needs images with several binary labels; these have one class")
        return 2 * classes

    @property
    def branch(self) -> nn.Module:
        """Return the attention branch."""
        return self.backbone.get_submodule(self.map_layer.removeprefix("backbone.").rpartition(".")[0])

    def added_parameters(self) -> list[nn.Parameter]:
        """Return the attention branch's parameters."""
        return list(self.branch.parameters())

    def attention_layers(self) -> tuple[str, ...]:
        """Return the name of the branch's map."""
        return (self.map_layer,)

    def own_maps(self, features: Mapping[str, Tensor]) -> dict[str, OwnMaps]:
        """Return the branch's map, or one for each task, at the layer where the last stage begins.

        ABN Sec. 3.1: "can visualize an attention map for visual explanation in feed forward propagation".
        """
        place = self.map_layer.removeprefix("backbone.").removesuffix(".branch.attention")
        return {place: OwnMaps(features[self.map_layer], per_class=self.multitask)}

    def forward(self, images: Tensor) -> Tensor:
        """Return the perception branch's logits (B, C) for images (B, 3, H, W)."""
        logits = logits_of(self.backbone(images))
        if not self.multitask:
            return logits
        runs = logits.view(-1, self.classes, self.classes, 2)  # (B, map, attribute, no or yes)
        own = runs.diagonal(dim1=1, dim2=2)  # (B, 2, T): of each run the attribute whose map it read
        return own[:, 1] - own[:, 0]

    def explained(self, images: Tensor) -> Explained:
        """Return the logits, the branch's logits and its maps, from one forward."""
        found: list[tuple[Tensor, Tensor]] = []
        with ExitStack() as stack:
            hook_here(stack, self.branch.register_forward_hook, lambda _m, _a, output: found.append(output))
            logits = self(images)
        ((maps, branch_logits),) = found
        return Explained(logits, branch_logits, maps)

    def with_map(self) -> WithMap:
        """Return a module whose output is `explained` as a tuple, to export."""
        return WithMap(self)


class WithMap(nn.Module):
    """A network's logits, its branch's logits and its maps as one forward's output, for `torch.export` and ONNX."""

    def __init__(self, network: AttentionBranchNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, C), the branch's logits (B, C) and maps (B, T, h, w)."""
        logits, branch_logits, maps = self.network.explained(images)
        return logits, branch_logits, maps
