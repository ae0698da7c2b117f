"""WARN's regulariser: attention heads look at different places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from looksharp.attention.recording import unwrapped
from looksharp.batch import Batch
from looksharp.networks.attention_module import AttentionModule
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.equations import head_diversity

__all__ = ["HeadDiversity"]


@PARTS.register("head_diversity")
@dataclass(eq=False)
class HeadDiversity(Part):
    """The term "head_diversity": heads of one attention module overlap little.

    WARN Sec. 3.2; `Classification() + HeadDiversity()` trains it as in the paper, and any other objective with it.
    The mean over the batch and over the network's attention modules; see `head_diversity`.

    Args:
        weight: of the term; 0.001 in the authors' code, the paper gives none.
        preset: "paper" measures overlap by the cosine between masks, "official_code" by their product.

    Raises:
        ValueError: if there is no such preset, or if the network has no attention modules.

    Example:
        >>> from looksharp.networks import AttendAndRectify, CifarResNet
        >>> from looksharp.objectives import Classification
        >>> net = AttendAndRectify(CifarResNet(20, 10), image_size=32)
        >>> objective = Classification() + HeadDiversity()
        >>> step = objective(net, (torch.rand(2, 3, 32, 32), torch.tensor([1, 7])))
        >>> sorted(step.terms), sorted(step.maps)[0]
        (['classification', 'head_diversity'], 'attention.0.mask')

    """

    weight: float = 0.001
    preset: Literal["paper", "official_code"] = "paper"

    def __post_init__(self) -> None:
        if self.preset not in ("paper", "official_code"):
            raise ValueError(f"preset must be paper or official_code; got {self.preset!r}")

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the names of every attention module's mask."""
        network = unwrapped(model)
        modules = [name for name, module in network.named_modules() if isinstance(module, AttentionModule)]
        if not modules:
            raise ValueError(
                f"head diversity needs a network with attention modules, such as AttendAndRectify; "
                f"{type(network).__name__} has none"
            )
        return tuple(f"{name}.mask" if name else "mask" for name in modules)

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Return the mean over images and modules, and the masks."""
        masks = {layer: forward.features[layer] for layer in self.recorded(forward.model, forward.batch)}
        # Disabled, because autocast would bring the products of masks to half precision.
        with torch.autocast(forward.logits.device.type, enabled=False):
            values = torch.stack([head_diversity(mask, self.preset) for mask in masks.values()])  # (N, B)
        return {"head_diversity": Term(values.mean(), self.weight)}, masks
