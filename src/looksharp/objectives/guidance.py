"""Guidance: a few masks or boxes tell where the evidence for a class may lie. Combines with every objective."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from looksharp.attention.attend import attention_maps
from looksharp.attention.maps import normalize_maps, resize_masks
from looksharp.attention.mechanisms import Mechanism, find_mechanism
from looksharp.attention.second_derivative import FastSecondDerivative
from looksharp.batch import Batch
from looksharp.objectives.base import Forward, LayerChoice, Part, Term, WarmUp, second_pass
from looksharp.objectives.equations import guidance_energy, guidance_input_gradient, guidance_squared_error

__all__ = ["GUIDANCE_LOSSES", "Guidance", "pair_maps"]

GUIDANCE_LOSSES = {
    "squared_error": 10.0,
    "energy": 1.0,
    "evidence": 1.0,
    "contrast": 1.0,
    "evidence_all": 1.0,
    "rrr": 10.0,
}
"""What guidance asks of a guided (image, class) pair, see `Guidance`, and the weight it has by default."""


def pair_maps(
    forward: Forward,
    layer: str,
    samples: Tensor,
    classes: Tensor,
    mechanism: str | Mechanism,
    *,
    signed: bool = False,
    most: int | None = None,
) -> Tensor:
    """Maps (P, h, w) of P (image, class) pairs, from one batched backward.

    Args:
        forward: the forward whose layer was recorded.
        layer: its name.
        samples: (P,) the pairs' images, in rising order.
        classes: (P,) the pairs' classes.
        mechanism: a name from `MECHANISMS`, or a function.
        signed: the maps before their ReLU.
        most: the most pairs that one image has, where it is known: then nothing waits for the device.
    """
    first = torch.searchsorted(samples, samples)  # where each pair's image begins
    rank = torch.arange(len(samples), device=samples.device) - first
    grid = classes.new_zeros(len(forward.batch), int(rank.max()) + 1 if most is None else most)
    grid[samples, rank] = classes
    maps = attention_maps(
        forward.output,
        forward.features.restricted([layer]),
        grid,
        mechanism,
        create_graph=forward.differentiable,
        signed=signed,
    )
    return maps[layer][samples, rank]


class Guidance(Part):
    """The term "guidance": attention of guided pairs belongs inside their masks.

    GAIN Eq. 8, L_ext = L_cl + alpha L_am + 10 L_e, is `GAIN() + Guidance()`. Batches without guidance add nothing.

    Args:
        loss: what is asked of a guided (image, class) pair:
            "squared_error", the map divided by its maximum equals the mask (GAIN Eq. 7);
            "energy", no share of the map's mass lies outside the mask;
            "evidence", the same for the map before its ReLU, so that evidence *against* the class counts;
            "contrast", the same for the difference between the class's map and that of the most confusing class
            (an image that has no wrong class counts as 0);
            "evidence_all", the same for the maps of all classes together, each without their mean, which moves no
            softmax (a backward per class where the layer is not pooled into one linear classifier);
            "rrr", no input gradient outside the mask (Ross et al. 2017), which costs another pass over the guided
            images and a second derivative through the whole network.
        weight: of the term; the one in `GUIDANCE_LOSSES` if not given.
        mechanism: how maps are made.
        layer: the layer they are read from; found in the backbone if not given.
        warmup: training steps over which the weight rises from 0.

    Raises:
        ValueError: if there is no such loss.
    """

    def __init__(
        self,
        loss: str = "squared_error",
        weight: float | None = None,
        mechanism: str | Mechanism = "grad_cam",
        layer: str | None = None,
        warmup: int = 0,
    ) -> None:
        super().__init__()
        if loss not in GUIDANCE_LOSSES:
            raise ValueError(f"guidance loss must be one of {', '.join(GUIDANCE_LOSSES)}; got {loss!r}")
        self.loss, self.weight = loss, GUIDANCE_LOSSES[loss] if weight is None else weight
        self.mechanism = find_mechanism(mechanism)
        self.choose = LayerChoice(None if layer is None else [layer], 1)
        self.warmup = WarmUp(warmup)

    def layers(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """The last layer, where maps are needed."""
        return () if self.loss == "rrr" else self.choose(model, batch)

    def forward(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """The mean over the batch's guided pairs."""
        weight = self.weight * self.warmup(forward)
        if not forward.batch.marks:
            return {"guidance": Term(forward.logits.new_zeros(()), weight)}, {}
        values = self._input_gradients(forward) if self.loss == "rrr" else self._maps(forward)
        return {"guidance": Term(values.mean(), weight)}, {}

    def _maps(self, forward: Forward) -> Tensor:
        guidance = forward.batch.marks
        assert guidance is not None
        (layer,) = self.choose(forward.model, forward.batch)
        order = guidance.sample.argsort(stable=True)
        samples, labels = guidance.sample[order], guidance.label[order]
        masks = guidance.mask[order]
        if self.loss == "evidence_all":
            attention = self._all_classes(forward, layer)[samples]
            return guidance_energy(attention, resize_masks(masks.to(attention.dtype), _size(attention)))
        signed = self.loss in ("evidence", "contrast")
        attention = pair_maps(forward, layer, samples, labels, self.mechanism, signed=signed)  # (G, h, w)
        if self.loss == "contrast":
            scores = forward.logits.detach().float()[samples]
            true = forward.batch.multi_hot(scores.shape[1])[samples].scatter(1, labels.unsqueeze(1), True)
            confusing = scores.masked_fill(true, -torch.inf).argmax(1)
            attention = attention - pair_maps(forward, layer, samples, confusing, self.mechanism, signed=True)
            attention = attention.masked_fill(true.all(1)[:, None, None], 0)  # no wrong class to tell it from
        mask = resize_masks(masks.to(attention.dtype), _size(attention))
        if self.loss == "squared_error":
            return guidance_squared_error(normalize_maps(attention), mask)
        return guidance_energy(attention, mask)

    def _all_classes(self, forward: Forward, layer: str) -> Tensor:
        """Magnitude of the evidence for and against all classes, (B, h, w)."""
        classes = torch.arange(forward.logits.shape[1], device=forward.logits.device)
        maps = attention_maps(
            forward.output,
            forward.features.restricted([layer]),
            classes.expand(len(forward.batch), -1),
            self.mechanism,
            create_graph=forward.differentiable,
            signed=True,
        )[layer]  # (B, C, h, w)
        if not forward.batch.multilabel:
            maps = maps - maps.mean(1, keepdim=True)
        return maps.abs().sum(1)

    def _input_gradients(self, forward: Forward) -> Tensor:
        guidance = forward.batch.marks
        assert guidance is not None
        trained = forward.differentiable
        # Fused attention has no second derivative. Evaluation needs a first one, whatever mode it runs in.
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FastSecondDerivative(lambda: trained),
        ):
            images = forward.batch.image[guidance.sample].detach().requires_grad_()
            logits = second_pass(forward.model, images)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            score = (F.logsigmoid(logits) if forward.batch.multilabel else logits.log_softmax(1)).sum()
            (gradient,) = torch.autograd.grad(score, images, create_graph=trained)
        return guidance_input_gradient(gradient, guidance.mask.to(gradient.dtype))


def _size(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]
