"""Networks of timm, by its own names: an architecture, with or without the tag of its weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from looksharp.networks.backbones.families import network_names
from looksharp.networks.backbones.source import NETWORK_SOURCES, Asked, Source, Stated, unknown, unloadable

__all__ = ["Timm"]

_LOCAL = "local-dir:"
_IMAGENET = 1000  # classes, which have names


class Timm(Source):
    """timm's registry; with hf-hub: the Hugging Face Hub, with local-dir: a folder in its layout."""

    def build(self, name: str, asked: Asked) -> nn.Module:
        """Build a network of timm.

        Networks that are built for one size (vision transformers) are built for the size that is asked for.
        """
        import timm  # here, because it takes seconds

        name, elsewhere = name.removeprefix("timm:"), ":" in name.removeprefix("timm:")
        fixed = False
        if not elsewhere:
            weights = _weights(name)
            if asked.pretrained and weights is not None and not weights.has_weights:
                raise ValueError(f"pretrained weights do not exist for {name!r}; pass pretrained=False")
            sizes = (None, weights.input_size[1:]) if weights is not None else ()
            fixed = weights is not None and weights.fixed_input_size and asked.image_size not in sizes
        more: dict[str, Any] = {} if asked.num_classes is None else {"num_classes": asked.num_classes}
        build = partial(timm.create_model, name, pretrained=asked.pretrained, in_chans=asked.in_channels, **more)
        try:
            network: nn.Module = build()
            # Some take any size as they are; others have to be told.
            if fixed and getattr(getattr(network, "patch_embed", None), "strict_img_size", True):
                network = build(img_size=asked.image_size)
        except (OSError, RuntimeError) as error:
            if asked.pretrained or elsewhere:
                raise unloadable(name, error) from error
            raise
        return network

    def stated(self, name: str) -> Stated:
        """Return timm's configuration of the weights: input size, mean, standard deviation, crop and labels."""
        found = _configuration(name.removeprefix("timm:"))
        return Stated() if found is None else _stated(found, f"timm's configuration of {name}")

    def carried(self, network: nn.Module) -> Stated | None:
        """Return what the model's `pretrained_cfg` says."""
        found = getattr(network, "pretrained_cfg", None)
        return _stated(found, "the model's pretrained_cfg") if isinstance(found, dict) else None

    def located(self, name: str) -> str:
        """Return the name with the whole path of a local folder."""
        return f"{_LOCAL}{Path(name.removeprefix(_LOCAL)).absolute()}" if name.startswith(_LOCAL) else name


def _stated(found: dict[str, Any], origin: str) -> Stated:
    """Return what a configuration of timm's says."""
    from timm.data.config import resolve_data_config
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    labels = tuple(map(str, found.get("label_names") or ()))
    subset = None if labels or found.get("num_classes") == _IMAGENET else infer_imagenet_subset(found)
    if subset:  # of the whole ImageNet, by synset
        labels = tuple(ImageNetInfo(subset).label_names())
    return Stated.of(resolve_data_config(pretrained_cfg=found), labels, origin)


def _weights(name: str) -> Any:
    """Return timm's configuration of weights in its registry; None where it has no weights."""
    import timm

    arch = name.partition(".")[0]
    mend = f"take {', '.join(network_names())}, 'hf:NAME', 'torchvision/NAME' or one of timm.list_models()"
    if not timm.is_model(arch):
        raise unknown(name, [*network_names(), *timm.list_models()], mend)
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # the architecture is known, its tag is not
        raise unknown(name, timm.list_pretrained(f"{arch}.*"), mend) from error


def _configuration(name: str) -> dict[str, Any] | None:
    if ":" not in name:
        weights = _weights(name)
        return None if weights is None else dict(weights.to_dict())
    from timm.models import load_model_config_from_hf
    from timm.models._hub import load_model_config_from_path

    prefix, _, place = name.partition(":")
    read = load_model_config_from_path if prefix == "local-dir" else load_model_config_from_hf
    try:
        found: dict[str, Any] = read(place)[0]
    except (OSError, RuntimeError) as error:
        raise unloadable(name, error) from error
    return found


for _prefix in ("timm", "hf-hub", "local-dir"):
    NETWORK_SOURCES.add(_prefix, Timm())
