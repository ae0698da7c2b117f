"""Background exchange: a guided object is shown in other surroundings, and must mean the same to the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from looksharp.batch import Batch
from looksharp.interventions.exchange import exchange_surroundings
from looksharp.objectives.base import Extension, Forward, Term, WarmUp

__all__ = ["BackgroundExchange", "disagreement", "exchange_partners", "guided_objects"]


def exchange_partners(labels: Tensor) -> Tensor:
    """For each of G images, another one, of another class wherever no class has more than half of them.

    Args:
        labels: (G,) one class per image.

    Returns:
        (G,) places, a permutation drawn at random.
    """
    order = torch.randperm(len(labels), device=labels.device)
    order = order[labels[order].argsort(stable=True)]  # class after class, shuffled within
    most = int(torch.bincount(labels).max()) if len(labels) else 0
    shift = min(most, max(len(labels) - 1, 0))
    partners = torch.empty_like(order)
    partners[order] = order.roll(shift)
    return partners


def disagreement(logits: Tensor, others: Tensor, present: Tensor | None = None) -> Tensor:
    """Divergence both ways between two predictions: KL(p || q) + KL(q || p), per image.

    For several labels the Bernoulli divergences of the classes that are present, averaged.

    Args:
        logits: (N, C).
        others: (N, C).
        present: for several labels, which classes to compare, (N, C) in {0, 1}; None for a softmax.

    Returns:
        (N,) >= 0; 0 if the predictions agree.
    """
    precise = torch.promote_types(logits.dtype, torch.float32)
    logits, others = logits.to(precise), others.to(precise)
    if present is not None:
        # For Bernoulli variables the sum of both divergences is (p - q) times the difference of logits.
        values = (logits.sigmoid() - others.sigmoid()) * (logits - others)
        return (values * present).sum(1) / present.sum(1).clamp(min=1)
    p, q = logits.log_softmax(1), others.log_softmax(1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1)


def guided_objects(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The guided images of a batch, each once, with the masks of its true classes united.

    Returns:
        samples (P,) places in rising order, masks (P, H, W), and the targets of what the masks cover: (P,) or
        multi-hot (P, C), without the classes that have no mask and stay behind with the surroundings.
    """
    marks = batch.marks
    assert marks is not None
    targets = batch.target[marks.sample]
    present = (
        targets.gather(1, marks.label.unsqueeze(1)).squeeze(1) > 0.5 if batch.multilabel else targets == marks.label
    )
    # An object that fills nothing or everything has no surroundings to exchange.
    share = marks.mask.mean((-2, -1))
    chosen = present & (share > 0) & (share < 1)
    samples, place = marks.sample[chosen].unique(return_inverse=True)
    size = marks.mask.shape[-2:]
    masks = marks.mask.new_zeros(len(samples), *size).scatter_reduce(
        0, place[:, None, None].expand(-1, *size), marks.mask[chosen], "amax"
    )
    if not batch.multilabel:
        return samples, masks, batch.target[samples]
    kept = torch.zeros_like(batch.target[samples])
    kept[place, marks.label[chosen]] = 1
    return samples, masks, kept


class BackgroundExchange(Extension):
    """A guided object means the same in any surroundings. Adds the term "agreement", where it has a weight.

    Each guided image of the batch gets a copy whose object stands in the surroundings of another guided image, of
    another class where there are any (see `exchange_surroundings`). The copies join the batch, and every loss of
    class labels reads them like other images. "agreement" is the divergence both ways between the predictions for an
    image and its copy. An intervention and no statement about maps, so that it reaches networks in which every
    position sees the whole image. At least two guided images a batch are needed, unless there are backgrounds;
    the cost is that of as many more images.

    Args:
        agreement: weight of "agreement".
        backgrounds: surroundings to draw from instead, (N, C, H, W), normalised, of the images' size.
        warmup: training steps over which the weight of "agreement" rises from 0.

    Example:
        >>> from looksharp.objectives import Classification
        >>> objective = Classification() + BackgroundExchange(agreement=1.0)
    """

    def __init__(self, agreement: float = 0.0, backgrounds: Tensor | None = None, warmup: int = 0) -> None:
        super().__init__()
        self.agreement, self.backgrounds = agreement, backgrounds
        self.warmup = WarmUp(warmup)

    def layers(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """None."""
        return ()

    def extend(self, batch: Batch) -> Batch:
        """The batch with a copy of each guided image; the copies are not guided themselves."""
        if not batch.marks:
            return batch
        samples, masks, targets = guided_objects(batch)
        if len(samples) <= (self.backgrounds is None):  # nothing, or none to exchange with
            return batch
        copies = self._exchanged(batch.image[samples], masks.to(batch.image.dtype), targets)
        return Batch(
            torch.cat([batch.image, copies]),
            torch.cat([batch.target, targets]),
            batch.marks,
            None if batch.group is None else torch.cat([batch.group, batch.group[samples]]),
            samples,
        )

    def forward(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compare the predictions for the copies with those for the originals."""
        if not self.agreement:
            return {}, {}
        batch, logits, weight = forward.batch, forward.logits, self.agreement * self.warmup(forward)
        if batch.copies is None:
            return {"agreement": Term(logits.new_zeros(()), weight)}, {}
        copied = len(logits) - len(batch.copies)
        # Of several labels the copy keeps those of its object alone.
        present = batch.target[copied:] if batch.multilabel else None
        return {"agreement": Term(disagreement(logits[batch.copies], logits[copied:], present).mean(), weight)}, {}

    def _exchanged(self, images: Tensor, masks: Tensor, targets: Tensor) -> Tensor:
        if self.backgrounds is not None:
            drawn = torch.randint(len(self.backgrounds), (len(images),))
            return exchange_surroundings(images, masks, self.backgrounds[drawn].to(images))
        partners = exchange_partners(targets if targets.ndim == 1 else targets.argmax(1))
        return exchange_surroundings(images, masks, images[partners], masks[partners])
