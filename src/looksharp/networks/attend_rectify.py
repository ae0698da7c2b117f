"""WARN: attention modules at several depths of any backbone, whose gated hypotheses rectify its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from looksharp.attention.layout import pair
from looksharp.attention.probing import untouched_forward
from looksharp.attention.recording import find_modules, logits_of
from looksharp.attention.stages import last_stages
from looksharp.attention.wrapping import Wrapping
from looksharp.networks.architecture import ARCHITECTURES, Attending, OwnMaps
from looksharp.networks.attention_module import AttentionModule
from looksharp.networks.gating import GlobalGate, mix_log_probabilities, mix_probabilities, mix_scores
from looksharp.networks.head_parameters import classifier_of
from looksharp.networks.tapping import Taps, tap

__all__ = ["AttendAndRectify"]

_Preset = Literal["paper", "official_code"]
_Attention = Literal["softmax", "sigmoid"]
_Gate = Literal["attention", "linear", "average", "identity"]
_Mixing = Literal["probability", "log_probability", "scores"]

_MIXES: dict[_Mixing, Any] = {
    "probability": mix_probabilities,
    "log_probability": mix_log_probabilities,
    "scores": mix_scores,
}


@ARCHITECTURES.register("attend_rectify")
class AttendAndRectify(Wrapping, Attending):
    """A classifier whose output is rectified by attention modules at several of its layers.

    Rodríguez et al., Attend and Rectify, 2018 (arXiv 1807.07320): WARN, where the backbone is a wide residual
    network. An `AttentionModule` at each layer (Eq. 1 to 5) gives class scores of its own; gates, softmax(tanh(W z))
    of the last feature activation z (Eq. 6 and 7), mix them with the network's own output (Eq. 8). z is the input of
    the backbone's classifier, its mean over positions where the classifier is a convolution.

    The result is logits: the log of the mixed probabilities, raised by a constant over classes that leaves the
    network's own logits as they are where its gate is 1. The backbone runs whole and unchanged; its
    parameters are named "backbone.*". Outputs that can be recorded by name, in training and evaluation: masks
    (B, heads, h, w) as "attention.N.mask", head gates (B, heads, 1, 1) as "attention.N.gate", global gates
    (B, N + 1, 1, 1) as "gate", the network's own last; N counts layers, the earliest first.

    Args:
        backbone: any classifier, such as those of timm, torchvision and `build_network`.
        image_size: pixels, or (height, width), of the images with which stages are found and sizes inferred; others
            can be classified later.
        preset: "paper", or "official_code": BatchNorm in the global gate, and log-probabilities mixed.
        layers: number of the backbone's last stages to attend at their ends, the paper's attention depth AD; or names
            of its layers, the last one last. The authors' code attends a wide residual network's groups after
            the BatchNorm and ReLU that follow them: layer2.0.relu1, layer3.0.relu1 and relu of `CifarWideResNet`.
        heads: number of masks of each module, the paper's attention width AW.
        attention: make masks by a softmax over positions, or by sigmoids.
        gate: mixing of the outputs: attention, the paper's global gates; or, for the ablation of Sec. 4.3 (read as
            being about these gates; head gates stay), linear, a learned projection of all outputs together that starts
            as their mean; average, their mean; identity, the backbone's output alone (modules then do not run).
        mixing: mix probabilities (probability, Eq. 8), log-probabilities (log_probability) or raw scores (scores, with
            the same softmax as log_probability); by preset if not given.
        backbone_gradient: factor, in training mode, of the gradient that modules and gates send into the backbone: 0
            blocks it, so that the backbone learns from its own output alone.

    Attributes:
        layers: names of the attended layers.
        multilabel: True if classes are independent; probabilities are then sigmoids. `build_classifier` sets it.

    Raises:
        ValueError: if the backbone has fewer stages than layers, if a layer is not in it or has no map, or if an option
            has a value not listed above.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> net = AttendAndRectify(CifarResNet(20, 10), image_size=32)
        >>> net.layers, net(torch.rand(2, 3, 32, 32)).shape
        (('layer1', 'layer2', 'layer3'), torch.Size([2, 10]))

    """

    loss_parts: ClassVar[tuple[str, ...]] = ("head_diversity",)

    def __init__(
        self,
        backbone: nn.Module,
        *,
        image_size: int | tuple[int, int] = 224,
        preset: _Preset = "paper",
        layers: int | list[str] = 3,
        heads: int = 4,
        attention: _Attention = "softmax",
        gate: _Gate = "attention",
        mixing: _Mixing | None = None,
        backbone_gradient: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("preset", preset, _Preset),
            ("attention", attention, _Attention),
            ("gate", gate, _Gate),
            ("mixing", mixing or "probability", _Mixing),
        ):
            if value not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}; got {value!r}")
        if heads < 1 or (isinstance(layers, int) and layers < 1):
            raise ValueError(f"layers and heads must be at least 1; got {layers} and {heads}")
        if not backbone_gradient >= 0:
            raise ValueError(f"backbone_gradient must be at least 0; got {backbone_gradient:g}")
        self.backbone = backbone
        self.preset = preset
        self.mixed_by, self.backbone_gradient = gate, backbone_gradient
        self.mix = _MIXES[mixing or ("probability" if preset == "paper" else "log_probability")]
        self.classifier = classifier_of(backbone)[0]
        images = _zeros(backbone, image_size)
        self.layers = _chosen(backbone, images, layers)
        with tap(backbone, self.layers, self.classifier) as taps:
            logits = logits_of(untouched_forward(backbone, images))
        classes, outputs = logits.shape[1], len(self.layers) + 1
        maps = [taps.features(layer, images) for layer in self.layers]
        with torch.device(logits.device):
            self.attention = nn.ModuleList(
                AttentionModule(features.shape[1], classes, heads, attention) for features in maps
            )
            self.gate: nn.Module = nn.Identity()
            if gate == "attention":
                length = self._pooled(taps, maps[-1]).shape[1]
                self.gate = GlobalGate(length, outputs, normalize=preset == "official_code")
            elif gate == "linear":
                self.gate = nn.Linear(outputs * classes, classes)
                with torch.no_grad():
                    self.gate.weight.copy_(torch.eye(classes).repeat(1, outputs) / outputs)
                    self.gate.bias.zero_()
        self.attention.to(logits.dtype)
        self.gate.to(logits.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) for images (B, C, H, W)."""
        if self.mixed_by == "identity":
            return logits_of(self.backbone(images))
        with tap(self.backbone, self.layers, self.classifier) as taps:
            own = logits_of(self.backbone(images))
        maps = [self._read(taps.features(layer, images)) for layer in self.layers]
        found = [module(features) for module, features in zip(self.attention, maps, strict=True)]
        outputs = torch.stack([*found, own.to(found[-1].dtype)], 1)  # (B, N + 1, classes)
        if self.mixed_by == "linear":
            rectified: Tensor = self.gate(outputs.flatten(1).to(own.dtype))
            return rectified
        if self.mixed_by == "average":
            gates = outputs.new_full(outputs.shape[:2], 1 / outputs.shape[1])  # (B, N + 1)
        else:
            gates = self.gate(self._pooled(taps, maps[-1])).flatten(1)
        return self.mix(outputs, gates, multilabel=self.multilabel)

    def added_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the attention modules and the gate."""
        return [*self.attention.parameters(), *self.gate.parameters()]

    def attention_layers(self) -> tuple[str, ...]:
        """Return the names of every module's masks and head gates, and of the global gates."""
        if self.mixed_by == "identity":
            return ()
        modules = [f"attention.{place}.{part}" for place in range(len(self.layers)) for part in ("mask", "gate")]
        return (*modules, *(["gate"] if self.mixed_by == "attention" else []))

    def own_maps(self, features: Mapping[str, Tensor]) -> dict[str, OwnMaps]:
        """Return each layer's masks (B, K, h, w), the last layer first, with their shares by both gates.

        WARN Fig. 6; the shares are those of Eq. 4 and 8.
        """
        found = {}
        for place in reversed(range(len(self.layers))):
            masks, shares = features[f"attention.{place}.mask"], None
            if self.mixed_by == "attention":
                shares = (features[f"attention.{place}.gate"] * features["gate"][:, [place]]).flatten(1)
            found[self.layers[place]] = OwnMaps(masks, shares)
        return found

    def _read(self, features: Tensor) -> Tensor:
        """Scale the gradient of features in training mode; maps made in evaluation are those of the output."""
        if not self.training or self.backbone_gradient == 1:
            return features
        return torch.lerp(features.detach(), features, self.backbone_gradient)

    def _pooled(self, taps: Taps, last: Tensor) -> Tensor:
        """Return the last feature activation z, (B, F)."""
        found = taps.classified
        if found is None:
            return last.mean((2, 3))
        if self.backbone.get_submodule(self.classifier).__class__ is nn.Conv2d:
            return self._read(found.mean((2, 3)))
        return self._read(found.flatten(1, -2).mean(1) if found.ndim > 2 else found)


def _zeros(backbone: nn.Module, image_size: int | tuple[int, int]) -> Tensor:
    """Make two images that the backbone takes."""
    height, width = pair(image_size)
    if height < 1 or width < 1:
        raise ValueError(f"image_size must be at least 1 px; got {height}x{width}")
    channels = next((m.in_channels for m in backbone.modules() if isinstance(m, nn.Conv2d)), 3)
    return next(backbone.parameters()).new_zeros(2, channels, height, width)


def _chosen(backbone: nn.Module, images: Tensor, layers: int | list[str]) -> tuple[str, ...]:
    if not isinstance(layers, int):
        return tuple(find_modules(backbone, tuple(layers)))
    try:
        return last_stages(backbone, images, count=layers)
    except ValueError as exc:
        raise ValueError(f"layers {layers} is too much: {exc}") from exc
