"""Indifference: without its object an image must tell the network nothing of the class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.batch import Batch
from looksharp.interventions.surroundings import surroundings_only
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.exchange import marked_objects
from looksharp.objectives.second_pass import second_pass
from looksharp.objectives.warm_up import WarmUp

__all__ = ["Indifference", "told"]


def told(logits: Tensor, present: Tensor | None = None) -> Tensor:
    """Compute how far a prediction is from one that tells nothing: KL(uniform || prediction), per image.

    Args:
        logits: (N, C).
        present: (N, C) in {0, 1}, the classes of multi-label images to ask about, each by its Bernoulli variable;
            None for a softmax.

    Returns:
        (N,) >= 0; 0 if all classes, or presence and absence, are equally likely.

    Example:
        >>> told(torch.zeros(1, 10)).abs() < 1e-6
        tensor([True])

    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if present is not None:
        # -log 2 - (log p + log (1 - p)) / 2 for a Bernoulli variable of probability p.
        values = -(F.logsigmoid(logits) + F.logsigmoid(-logits)) / 2 - torch.tensor(2.0).log()
        return (values * present).sum(1) / present.sum(1).clamp(min=1)
    return -logits.log_softmax(1).mean(1) - torch.tensor(float(logits.shape[1])).log()


@PARTS.register("indifference")
@dataclass(eq=False)
class Indifference(Part):
    """The term "indifference": with its marked object gone, an image is answered with every class alike.

    The object is filled smoothly from around it, as in the intervention "surroundings_only", and the image goes through
    the same network once more; see `told` for the loss, which is averaged over the batch's marked images. BatchNorm's
    statistics do not see these images. The cost is that of a forward of the marked images.

    Args:
        weight: weight of the term.
        warmup: training steps over which the weight rises from 0.

    Example:
        >>> from looksharp.objectives import Agreement, Classification
        >>> objective = Classification() + Agreement(0.3) + Indifference()
    """

    reads_marks = True

    weight: float = 0.3
    warmup: int = 0

    def __post_init__(self) -> None:
        self._rise = WarmUp(self.warmup)

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return no layers."""
        return ()

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Remove the marked objects, run the model again, and read what it tells."""
        batch, weight = forward.batch, self.weight * self._rise(forward)
        value = forward.logits.new_zeros(())
        if batch.marks:
            samples, masks, targets = marked_objects(batch)
            if len(samples):
                gone = surroundings_only(batch.image[samples], masks.to(batch.image.dtype))
                value = told(second_pass(forward.model, gone), targets if batch.multilabel else None).mean()
        return {"indifference": Term(value, weight)}, {}
