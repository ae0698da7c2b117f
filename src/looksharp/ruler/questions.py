"""Prepare the images that every mechanism is asked about: answers, marks, and the cue where one was planted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from looksharp.attention.finite import check_logits, check_weights
from looksharp.attention.recording import logits_of
from looksharp.batch import BatchMarks
from looksharp.data.sampling import InOrder
from looksharp.data.split import Pixels, Split
from looksharp.metrics.faithfulness.imputation import noisy_linear_imputation
from looksharp.metrics.sanity import randomized
from looksharp.ruler.results import CueFacts
from looksharp.ruler.settings import RulerSettings

__all__ = ["Asked", "Questions", "prepare"]


@dataclass(frozen=True, eq=False)
class Asked:
    """One batch.

    Attributes:
        images: (B, C, H, W), normalised.
        classes: (B,) the network's answers, which are explained.
        marks: marks of objects; None if there are none.
        cues: (B, H, W) masks of the cues; None if none are known.
        hangs: (B,) True where the answer changes once the cue is painted over.
        perturbed: (B,) True where images are to be perturbed in the order of their map.
    """

    images: Tensor
    classes: Tensor
    marks: BatchMarks | None
    cues: Tensor | None
    hangs: Tensor
    perturbed: Tensor


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions that every mechanism is asked.

    Attributes:
        model: the network, in evaluation mode.
        forgetful: a copy of it with random weights.
        split: the images.
        pixels: the way from their pixels to the network's input.
        batch_size: images of one forward.
        workers: processes that read image files.
        classes: (N,) the network's answers.
        hangs: (N,) True where an answer hangs on the cue.
        perturbed: (N,) True where an image is to be perturbed in the order of its map.
        cue: facts of the cue; None if none is known.
    """

    model: nn.Module
    forgetful: nn.Module
    split: Split
    pixels: Pixels
    batch_size: int
    workers: int
    classes: Tensor
    hangs: Tensor
    perturbed: Tensor
    cue: CueFacts | None

    @property
    def multilabel(self) -> bool:
        """Return True if an image may have several classes."""
        return self.split.targets.ndim == 2

    def batches(self) -> Iterator[Asked]:
        """Yield all images in order."""
        start = 0
        for images, marks, cues in _read(self.model, self.split, self.pixels, self.batch_size, self.workers):
            chosen = slice(start, start + len(images))
            start += len(images)
            classes, hangs, perturbed = (
                values[chosen].to(images.device) for values in (self.classes, self.hangs, self.perturbed)
            )
            yield Asked(images, classes, marks, cues, hangs, perturbed)


def prepare(model: nn.Module, split: Split, pixels: Pixels, settings: RulerSettings) -> Questions:
    """Answer every image once, and once more with its cue painted over where a cue is known.

    The cue is painted over from its neighbourhood, so that no outline of it is left (see `noisy_linear_imputation`).
    Only where the answer changes does it hang on the cue, and only there is a map to be blamed for missing it.

    Args:
        model: the network, in evaluation mode.
        split: the images.
        pixels: the way from their pixels to the network's input.
        settings: sizes and seed.

    Raises:
        ValueError: if the model is in training mode, or its weights or answers are not finite.
    """
    if model.training:
        raise ValueError("model must be in evaluation mode to be judged; call model.eval()")
    check_weights(model)
    answers, hanging, covered = [], [], []
    for images, _, cues in _read(model, split, pixels, settings.batch_size, settings.workers):
        answer = _answer(model, images)
        answers.append(answer.cpu())
        hangs = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        if cues is not None:
            shares = cues.flatten(1).mean(1)
            able = (shares > 0) & (shares < 1)
            covered.append(shares[shares > 0].cpu())
            if able.any():
                painted = noisy_linear_imputation(images[able], cues[able] > 0.5, noise=0)
                hangs[able] = _answer(model, painted) != answer[able]
        hanging.append(hangs.cpu())
    hangs, shares = torch.cat(hanging), torch.cat(covered) if covered else torch.zeros(0)
    cue = CueFacts(len(shares), int(hangs.sum()), float(shares.double().mean())) if len(shares) else None
    *_, (_, forgetful) = randomized(model, seed=settings.seed)
    perturbed = torch.zeros(len(hangs), dtype=torch.bool)
    perturbed[torch.linspace(0, len(hangs) - 1, min(settings.perturbed, len(hangs))).long()] = True
    given = model, forgetful, split, pixels, settings.batch_size, settings.workers
    return Questions(*given, torch.cat(answers), hangs, perturbed, cue)


@torch.no_grad()
def _answer(model: nn.Module, images: Tensor) -> Tensor:
    logits = logits_of(model(images))
    check_logits(logits)
    return logits.argmax(1)


def _read(
    model: nn.Module, split: Split, pixels: Pixels, batch_size: int, workers: int
) -> Iterator[tuple[Tensor, BatchMarks | None, Tensor | None]]:
    """Yield images, marks and cues of each batch; cues are read as marks are, so that they lie where images do."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    order = InOrder(len(split), batch_size)
    batches = split.loader(order, pixels, device=device, workers=workers)
    if split.cues is None:
        yield from ((batch.image, batch.marks, None) for batch in batches)
        return
    beside = replace(split, marks=split.cues, cues=None).loader(order, pixels, device=device, workers=workers)
    for batch, found in zip(batches, beside, strict=True):
        cues = torch.zeros(len(batch), *batch.image.shape[-2:], device=device)
        if found.marks is not None:
            for image, mask in zip(found.marks.sample.tolist(), found.marks.mask, strict=True):
                cues[image] = torch.maximum(cues[image], mask)
        yield batch.image, batch.marks, cues
