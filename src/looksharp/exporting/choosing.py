"""Choose how a run's maps become part of its forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from looksharp.attention.mechanisms import ModelMechanism, check_asked, find_mechanism, mechanism_name
from looksharp.attention.mechanisms.recipro_cam import ReciproCAM
from looksharp.attention.recording import logits_of, look
from looksharp.attention.stages import last_stages
from looksharp.exporting.mapped import Mapped
from looksharp.exporting.own_maps import NetworkMaps
from looksharp.exporting.pooled import PooledMaps
from looksharp.exporting.reciprocal import ReciprocalMaps
from looksharp.networks.built_in import has_built_in_attention

__all__ = ["mapped", "pictures"]


def mapped(
    network: nn.Module,
    images: Tensor,
    *,
    top: int,
    layer: str | None = None,
    mechanism: str | None = None,
    signed: bool = False,
) -> Mapped:
    """Return the network with maps in its forward.

    Args:
        network: a classifier in evaluation mode.
        images: (B, 3, H, W), normalised, with which its layers are found.
        top: number of classes whose maps are given.
        layer: the layer they are read from; found in the network if not given.
        mechanism: mechanism of the maps; see `ExportSettings`.
        signed: keep evidence against a class.

    Raises:
        ValueError: if the mechanism needs a backward or a rerun that no graph holds, or has no such option.
    """
    own = mechanism is None and layer is None and not signed and has_built_in_attention(network)
    if own or mechanism == "built_in":
        if layer is not None or signed:
            raise ValueError("layer and signed are for maps of classes; mechanism 'built_in' gives the maps there are")
        return NetworkMaps(network, images, top)
    kind = None if mechanism is None else find_mechanism(mechanism)
    if isinstance(kind, ModelMechanism) and not isinstance(kind, ReciproCAM):
        raise ValueError(
            f"mechanism {mechanism!r} runs the model by a program of its own, which an exported file cannot hold; "
            f"take recipro_cam, or leave out mechanism"
        )
    if kind is not None:
        check_asked(kind, layers=layer is not None, signed=signed)
    layer = last_stages(network, images, count=1)[0] if layer is None else layer
    output, recording = look(network, images, (layer,), several=False)
    head = recording.pooled_linear_head(logits_of(output))
    if kind is None:
        kind = find_mechanism("recipro_cam" if head is None else "grad_cam")
    if isinstance(kind, ReciproCAM):
        return ReciprocalMaps(network, layer, recording[layer].shape[2:], kind, top, signed)
    assert not isinstance(kind, ModelMechanism)
    if head is None:
        name = mechanism_name(kind) or mechanism
        raise ValueError(
            f"mechanism {name!r} needs a backward to layer {layer!r}, which is not pooled into one linear classifier, "
            f"and an exported file has none; take recipro_cam, which runs forward alone, or leave out mechanism"
        )
    return PooledMaps(network, head, kind, top, signed)


def pictures(count: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Draw images (count, 3, H, W) of bytes: patches of colour under noise, since plain noise drives no network.

    Args:
        count: number of images.
        size: height and width.
        seed: seed of what is drawn.
    """
    drawn = torch.Generator().manual_seed(seed)
    patches = torch.rand(count, 3, 6, 6, generator=drawn)
    smooth = nn.functional.interpolate(patches, size, mode="bilinear", align_corners=False)
    noise = torch.rand(count, 3, *size, generator=drawn)
    return ((0.8 * smooth + 0.2 * noise) * 255).round().to(torch.uint8)
