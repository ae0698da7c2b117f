"""Recipro-CAM in one graph: what follows a layer runs for every position of it, behind one forward."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from looksharp.attention.layout import layout_of
from looksharp.attention.mechanisms.recipro_cam import ReciproCAM
from looksharp.attention.recording import first_tensor, logits_of, with_first
from looksharp.attention.threads import hook_here
from looksharp.exporting.mapped import ClassMaps, of_classes

__all__ = ["ReciprocalMaps"]


class ReciprocalMaps(ClassMaps):
    """Give Recipro-CAM's maps of the highest-scoring classes at any layer, without a gradient.

    The part up to the layer runs once. What follows it runs for each position alone, for none of them and for all,
    as one batch. Where that also reads what is beside the layer, such as the residual connection of a transformer's
    block, the block around it runs so too: a way is the path of the module whose input is repeated, "" to repeat the
    layer's output.

    Args:
        network: the classifier.
        layer: name of the layer.
        size: height and width of its map.
        mechanism: the mechanism's settings.
        top: number of classes.
        signed: keep values below 0.
    """

    masks: Tensor

    def __init__(
        self, network: nn.Module, layer: str, size: torch.Size, mechanism: ReciproCAM, top: int, signed: bool
    ) -> None:
        super().__init__(network, layer, mechanism, top, signed)
        self.size, self.score = size, mechanism.score
        parts = layer.split(".")
        self.ways = ("", *(".".join(parts[:depth]) for depth in reversed(range(1, len(parts)))))
        each = torch.eye(size.numel()).view(-1, 1, *size)
        masks = [mechanism.spread(each), torch.zeros(1, 1, *size), torch.ones(1, 1, *size)]
        self.register_buffer("masks", torch.cat(masks), persistent=False)  # (h w + 2, 1, h, w)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return logits (B, C), classes (B, K) and maps (B, K, h, w)."""
        size = (images.shape[-2], images.shape[-1])

        def repeat(_module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
            return tuple(self._repeated(each) if isinstance(each, Tensor) else each for each in args)

        def replace(_module: nn.Module, _args: object, output: object) -> object:
            found = first_tensor(output)
            if found is None:
                return output
            repeated = found if self.way else self._repeated(found)
            layout = layout_of(self.network, self.layer, repeated, size)
            features = layout.to_map(repeated).unflatten(0, (-1, len(self.masks)))  # (B, h w + 2, C, h, w)
            alone = (features * self.masks.to(found.dtype)).flatten(0, 1)
            return with_first(output, layout.from_map(alone, repeated))

        with ExitStack() as stack:
            if self.way:
                hook_here(stack, self.network.get_submodule(self.way).register_forward_pre_hook, repeat)
            hook_here(stack, self.network.get_submodule(self.layer).register_forward_hook, replace)
            answers = logits_of(self.network(images)).unflatten(0, (-1, len(self.masks)))  # (B, h w + 2, C)
        logits = answers[:, -1]
        classes = logits.topk(self.top).indices
        scores = answers.softmax(2) if self.score == "probability" else answers
        evidence = (scores[:, :-2] - scores[:, -2:-1]).mT.unflatten(2, self.size)  # (B, C, h, w)
        return logits, classes, self.ended(of_classes(evidence, classes))

    def _repeated(self, values: Tensor) -> Tensor:
        """Return every image's values (B, ...) once for each mask, (B (h w + 2), ...)."""
        return values.repeat_interleave(len(self.masks), 0)
