"""Find the pixels of an image that carry the evidence for its class."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.attend import attend
from looksharp.attention.mechanisms import Mechanism, has_sign, reads_layers
from looksharp.suspects.default import cue_finder

__all__ = ["find_regions"]

_LEVEL = 0.5  # of a map's maximum


def find_regions(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    *,
    layer: str | None = None,
    mechanism: str | Mechanism | None = None,
) -> Tensor:
    """Find the region of evidence of one class in every image.

    Args:
        model: a classifier in evaluation mode.
        images: (B, 3, H, W), normalised as the model expects.
        classes: (B,) the class whose evidence is looked for.
        layer: the layer to read; the end of the last stage if not given.
        mechanism: how maps are made; what finds a cue best in networks of this kind if not given.

    Returns:
        (B, H, W) boolean; empty where an image has no evidence for the class.
    """
    kind = mechanism or cue_finder(model, images, layer)
    layers = [layer] if layer is not None and reads_layers(kind) else None
    found = attend(model, images, classes, layers=layers, mechanism=kind, signed=has_sign(kind)).maps
    (maps,) = found.values()
    size = (images.shape[-2], images.shape[-1])
    evidence = F.interpolate(maps.float(), size, mode="bilinear", align_corners=False)[:, 0].relu()
    peak = evidence.amax((-2, -1), keepdim=True)
    return (evidence > _LEVEL * peak) & (peak > 0)
