"""One small network of every family of architectures in timm, torchvision and transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

__all__ = ["CLASSES", "Member", "members"]

CLASSES = 5


@dataclass(frozen=True)
class Member:
    """A network with random weights: where it is from, its family, its name, how it is built, its images' side."""

    library: str
    family: str
    name: str
    build: Callable[[], nn.Module]
    size: int

    @property
    def key(self) -> str:
        """A name that no other member has."""
        return f"{self.library} {self.name}"


def members() -> Iterator[Member]:
    """List one member of each module of timm and more of its vision transformers, then torchvision, transformers."""
    yield from _timm()
    yield from _torchvision()
    yield from _transformers()


_SMALL = (
    *("test_", "atto", "femto", "pico", "nano", "xxs", "xx_small", "xs", "x_small", "tiny", "_mini", "_s0", "small"),
    *("_s_", "050", "18", "b0", "_0", "10", "_s", "lite"),
)
_TIMM: dict[str, str] = {  # where the name does not tell which one is small
    "convmixer": "convmixer_768_32",
    "dla": "dla46_c",
    "dpn": "dpn48b",
    "levit": "levit_128s",
    "mobilenetv5": "mobilenetv5_base",
    "regnet": "regnetx_002",
    "res2net": "res2net50_14w_8s",
    "resnest": "resnest14d",
    "tresnet": "tresnet_m",
    "vision_transformer_sam": "samvit_base_patch16_224",
}
_MORE = (  # vision transformers whose heads read in other ways
    *("test_vit2", "test_vit3", "test_vit4", "vit_tiny_patch16_224", "vit_dwee_patch16_reg1_gap_256"),
    *(
        "vit_small_patch14_dinov2",
        "vit_small_patch14_reg4_dinov2",
        "vit_small_patch16_dinov3",
        "vit_base_patch16_siglip_224",
    ),
    *("vit_base_patch16_siglip_gap_224", "vit_base_patch16_clip_224", "beitv2_base_patch16_224", "pit_s_distilled_224"),
    *(
        "deit_tiny_distilled_patch16_224",
        "deit3_small_patch16_224",
        "mixer_s16_224",
        "resmlp_12_224",
        "xcit_tiny_12_p16_224",
    ),
    *("vit_tiny_r_s16_p8_224", "coatnet_nano_rw_224", "eva_giant_patch14_224", "vit_pe_core_tiny_patch16_384"),
)
_THIN = {"depth": 4, "embed_dim": 96, "num_heads": 3}
_CHANGED: dict[str, dict[str, Any]] = {  # what makes a large network of the family a small one
    "beit_base_patch16_224": _THIN,
    "beitv2_base_patch16_224": _THIN,
    "deepseek_vit_412m": _THIN,
    "eva_giant_patch14_224": _THIN,
    "gemma4_vit_167m": _THIN,
    "naflexvit_base_patch16_siglip": _THIN,
    "qwen3_vit_88m": _THIN,
    "samvit_base_patch16_224": _THIN,
    "tnt_s_patch16_224": {"depth": 4},
    "vit_base_patch16_clip_224": _THIN,
    "vit_base_patch16_siglip_224": _THIN,
    "vit_base_patch16_siglip_gap_224": _THIN,
}
_SIZES = {"halonet26t": 256, "convmixer_768_32": 112, "csatv2": 256, "deepseek_vit_412m": 168}
_LARGEST = 256  # of networks of one size; others are given
_USUAL = 160


def _timm() -> Iterator[Member]:
    import timm
    from timm.models._registry import _module_to_models

    names = {module: _TIMM.get(module) or min(found, key=_smallness) for module, found in _module_to_models.items()}
    module_of = {name: module for module, found in _module_to_models.items() for name in found}
    for name in sorted(dict.fromkeys([*names.values(), *_MORE]), key=lambda name: (module_of[name], name)):
        config = timm.get_pretrained_cfg(name)
        size = config.input_size[-1] if config is not None else _USUAL
        changed = _CHANGED.get(name, {})
        if config is None or not config.fixed_input_size:
            size = _SIZES.get(name, min(size, _USUAL))
        elif size > _LARGEST:
            size, changed = 224, {**changed, "img_size": 224}
        yield Member(
            "timm", module_of[name], name, partial(timm.create_model, name, num_classes=CLASSES, **changed), size
        )


def _smallness(name: str) -> tuple[int, int, str]:
    rank = next((place for place, part in enumerate(_SMALL) if part in name), len(_SMALL))
    return rank, len(name), name


_TORCHVISION = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3"),
    *("maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18"),
    *("resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "swin_t", "swin_v2_t", "vgg11", "vit_b_32"),
    "wide_resnet50_2",
)


def _torchvision() -> Iterator[Member]:
    from torchvision import models

    for name in _TORCHVISION:
        more = {"init_weights": True, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        size = 224 if name in ("maxvit_t", "vit_b_32") else _USUAL
        yield Member("torchvision", name, name, partial(models.get_model, name, num_classes=CLASSES, **more), size)


_PLAIN: dict[str, Any] = {
    **{"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 96},
    **{"image_size": 64, "patch_size": 8},
}
_TOWERS = {"vision_config": _PLAIN, "text_config": {**_PLAIN, "vocab_size": 64}}
_PYRAMID: dict[str, Any] = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1], "image_size": 128}
_WINDOWS: dict[str, Any] = {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4], "image_size": 128}
_HEADS = {"num_attention_heads": [1, 1, 2, 3]}
_TRANSFORMERS: dict[str, Mapping[str, Any]] = {
    "Beit": _PLAIN,
    "Bit": {**_PYRAMID, "num_groups": 8},
    "CLIP": _TOWERS,
    "ConvNext": _PYRAMID,
    "ConvNextV2": _PYRAMID,
    "Cvt": {"embed_dim": [16, 24, 48], "depth": [1, 2, 3], "num_heads": [1, 1, 3], "drop_path_rate": [0.0, 0.0, 0.0]},
    "Data2VecVision": _PLAIN,
    "DeiT": _PLAIN,
    "Dinat": {**_WINDOWS, "kernel_size": 3},
    "Dinov2": _PLAIN,
    "Dinov2WithRegisters": _PLAIN,
    "DonutSwin": {**_WINDOWS, "window_size": 4},
    "EfficientNet": {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640, "image_size": 128},
    "FocalNet": {**_PYRAMID, "embed_dim": 16},
    "HGNetV2": {},
    "Hiera": {**_WINDOWS, "num_heads": [1, 1, 2, 4], "image_size": [128, 128]},
    "IJepa": _PLAIN,
    "ImageGPT": {},
    "Levit": {"hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4], "depths": [2, 2, 2], "image_size": 128},
    "MetaClip2": _TOWERS,
    "MobileNetV1": {"depth_multiplier": 0.5},
    "MobileNetV2": {"depth_multiplier": 0.5},
    "MobileViT": {"hidden_sizes": [32, 48, 64], "image_size": 128},
    "MobileViTV2": {"width_multiplier": 0.5, "image_size": 128},
    "PerceiverForImageClassificationLearned": {"image_size": 64, "num_latents": 16, "d_latents": 64},
    "PoolFormer": _PYRAMID,
    "PPLCNet": {},
    "Pvt": {**_PYRAMID, **_HEADS},
    "PvtV2": {**_PYRAMID, **_HEADS},
    "RegNet": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1], "groups_width": 8},
    "ResNet": _PYRAMID,
    "Segformer": {**_PYRAMID, **_HEADS},
    "ShieldGemma2": {},
    "Siglip": _TOWERS,
    "Siglip2": _TOWERS,
    "SwiftFormer": {"embed_dims": [16, 24, 32, 48], "depths": [1, 1, 2, 1]},
    "Swin": {**_WINDOWS, "window_size": 4},
    "Swinv2": {**_WINDOWS, "window_size": 4},
    "TextNet": {"image_size": 128},
    "TimmWrapper": {"architecture": "test_resnet"},
    "ViT": _PLAIN,
    "ViTMSN": _PLAIN,
}
_NO_IMAGES = {"ImageGPT": "tokens of colours", "ShieldGemma2": "images with text", "Siglip2": "lists of patches"}


def _transformers() -> Iterator[Member]:
    for kind, changed in _TRANSFORMERS.items():
        if kind not in _NO_IMAGES:  # which read something else
            size = changed.get("image_size", changed.get("vision_config", {}).get("image_size", 128))
            yield Member(
                "transformers", kind, kind, partial(_hugging, kind, changed), size if isinstance(size, int) else size[0]
            )


def _hugging(kind: str, changed: Mapping[str, Any]) -> nn.Module:
    import transformers

    name, _, reader = kind.partition("ForImageClassification")
    config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **changed)
    network: nn.Module = getattr(transformers, f"{name}ForImageClassification{reader}")(config)
    return network
