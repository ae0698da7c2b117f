"""WARN's regulariser: attention heads should look at different places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from looksharp.attention.recording import unwrapped
from looksharp.batch import Batch
from looksharp.networks.attend_rectify import AttendAndRectify
from looksharp.networks.attention_module import AttentionModule
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.equations import Overlap, head_diversity

__all__ = ["HeadDiversity"]


@PARTS.register("head_diversity")
@dataclass(eq=False)
class HeadDiversity(Part):
    """The term "head_diversity": heads of one attention module should overlap little.

    WARN Sec. 3.2; it combines with any objective: `Classification() + HeadDiversity()`. It is the
    mean over the batch and over the network's attention modules; see `head_diversity`. It is 0 where the modules do not
    run (gate identity).

    Args:
        weight: weight of the term; 0.001 in the authors' code, the paper gives none.
        overlap: comparison of two masks: "cosine", this library's choice, or "product", the authors' code. If not
            given, product where the network's preset is official_code.

    Raises:
        ValueError: if there is no such overlap, or if the network has no attention modules.

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
    overlap: Overlap | None = None

    def __post_init__(self) -> None:
        if self.overlap not in (None, *get_args(Overlap)):
            raise ValueError(f"overlap must be one of {', '.join(get_args(Overlap))}; got {self.overlap!r}")

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the names of the masks of every attention module that runs."""
        return tuple(f"{name}.mask".lstrip(".") for name in self._running(unwrapped(model)))

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Return the mean over images and modules, and the masks."""
        modules = self._running(unwrapped(forward.model))
        masks = {f"{name}.mask".lstrip("."): overlap for name, overlap in modules.items()}
        value = forward.logits.new_zeros(())
        if masks:
            # Disabled, because autocast would bring the products of masks to half precision.
            with torch.autocast(forward.logits.device.type, enabled=False):
                each = [head_diversity(forward.features[layer], overlap) for layer, overlap in masks.items()]
                value = torch.stack(each).mean()  # of (N, B)
        return {"head_diversity": Term(value, self.weight)}, {layer: forward.features[layer] for layer in masks}

    def _running(self, network: nn.Module) -> dict[str, Overlap]:
        """Return for the name of each attention module that runs how its masks are compared."""
        found: dict[str, Overlap] = {
            name: self.overlap or "cosine"
            for name, module in network.named_modules()
            if isinstance(module, AttentionModule)
        }
        if not found:
            raise ValueError(
                f"head diversity needs a network with attention modules, such as AttendAndRectify; "
                f"{type(network).__name__} has none"
            )
        for path, module in network.named_modules():
            if isinstance(module, AttendAndRectify):
                own = [f"{path}.attention.{place}".lstrip(".") for place in range(len(module.attention))]
                kind: Overlap = "product" if module.preset == "official_code" else "cosine"
                found |= dict.fromkeys(own, self.overlap or kind)
                if not module.attention_layers():
                    found = {name: overlap for name, overlap in found.items() if name not in own}
        return found
