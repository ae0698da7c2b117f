"""Maps of chosen classes over whole images, averaged over scales and mirror images, and saliency."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.attend import attend, attention_maps
from looksharp.attention.finite import check_finite, check_logits
from looksharp.attention.maps import normalize_maps, resize_maps
from looksharp.attention.mechanisms import ModelMechanism, find_mechanism
from looksharp.attention.recording import logits_of, record
from looksharp.attention.rerun import chunks
from looksharp.attention.stages import last_stages
from looksharp.networks.built_in import built_in_attention

__all__ = ["WholeMaps"]

_SMOOTHED = 20  # a window's side goes so many times into the image's
_LEAST_SIDE = 32  # to which images are reduced for saliency


@dataclass(frozen=True)
class WholeMaps:
    """Settings of how maps are made of images, as many at a time as one forward takes: see `images_at_once`.

    Attributes:
        model: the classifier, in evaluation mode.
        mechanism: a name from `MECHANISMS`, with settings after a colon, or "built_in" for the network's own attention.
        layer: layer that maps are read from; the last one if None.
        scales: factors of the image's size.
        mirror: read mirror images too.
        saliency: also compute saliency, by a gradient with respect to the image.
        saliency_scale: factor of each view's size at which saliency is computed, though not below 32 px. A network that
            takes images of one size computes it at that.
    """

    model: nn.Module
    mechanism: str = "grad_cam"
    layer: str | None = None
    scales: Sequence[float] = (1.0,)
    mirror: bool = False
    saliency: bool = False
    saliency_scale: float = 1.0

    def of(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return maps of classes, each divided by its maximum, resized and averaged; and saliency.

        Saliency is the largest magnitude over channels of the gradient of the classes' summed scores with respect to
        the image (Simonyan et al. 2014, Sec. 3.1), smoothed by a mean over a twentieth of the image's side.

        Args:
            images: (B, 3, H, W), normalised.
            classes: (B, K), -1 where an image has fewer than K.

        Returns:
            Maps (B, K, H, W) in [0, 1], 0 where there is no class, and saliency (B, H, W) or None.

        Raises:
            ValueError: if the network does not take images of a scale, or maps are not finite.
        """
        size = (images.shape[-2], images.shape[-1])
        maps = images.new_zeros(*classes.shape, *size, dtype=torch.float32)
        salient = images.new_zeros(len(images), *size, dtype=torch.float32) if self.saliency else None
        views = list(self._views(images))
        for view, mirrored in views:
            found, gradient = self._one(view, classes)
            found = resize_maps(normalize_maps(found.float()), size)
            maps += found.flip(-1) if mirrored else found
            if gradient is not None and salient is not None:
                gradient = resize_maps(normalize_maps(gradient.float()), size)
                salient += gradient.flip(-1) if mirrored else gradient
        return maps / len(views) * (classes >= 0)[..., None, None], salient

    def _views(self, images: Tensor) -> Iterator[tuple[Tensor, bool]]:
        for scale in self.scales:
            view = images if scale == 1 else _resized(images, scale)
            yield view, False
            if self.mirror:
                yield view.flip(-1), True

    def _one(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return maps (B, K, h, w) of one view, and its saliency (B, h, w)."""
        try:
            found = [self._read(images[places], classes[places]) for places in chunks(len(images), images)]
            maps = torch.cat([each for each, _ in found])
            gradients = [gradient for _, gradient in found if gradient is not None]
            return maps, torch.cat(gradients) if gradients else self._saliency(images, classes)
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, RuntimeError) as error:
            height, width = images.shape[-2:]
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"scales must be of sizes that the network takes; it does not take {height} x {width} px: {reason}"
            ) from None

    def _read(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return maps of images that one forward takes, and their saliency where the same forward gives it."""
        if self.mechanism == "built_in":
            return self._built_in(images, classes), None
        if self.saliency and self._scale(images) == 1:
            if not isinstance(find_mechanism(self.mechanism), ModelMechanism):
                return self._with_gradient(images, classes)
        found = attend(
            self.model,
            images,
            classes.clamp(min=0),
            layers=None if self.layer is None else [self.layer],
            mechanism=self.mechanism,
        )
        check_logits(found.logits)
        (maps,) = found.maps.values()
        check_finite(maps, "the class maps")
        return maps, None

    def _with_gradient(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Read maps and saliency off one forward."""
        layers = last_stages(self.model, images, 1) if self.layer is None else (self.layer,)
        images = images.detach().requires_grad_()
        with torch.enable_grad(), record(self.model, layers) as features:
            output = self.model(images)
        (maps,) = attention_maps(output, features, classes.clamp(min=0), self.mechanism).values()
        check_finite(maps, "the class maps")
        return maps, _saliency(logits_of(output), images, classes)

    def _scale(self, images: Tensor) -> float:
        """Return the factor of a view's size at which saliency is computed."""
        return min(max(self.saliency_scale, _LEAST_SIDE / min(images.shape[-2:])), 1.0)

    def _saliency(self, images: Tensor, classes: Tensor) -> Tensor | None:
        """Return saliency (B, h, w), of images that are first reduced where the network takes them so; None if off."""
        if not self.saliency:
            return None
        scale = self._scale(images)
        if scale < 1:
            with suppress(AssertionError, RuntimeError):  # what a network of one size raises
                return self._gradient(_resized(images, scale), classes)
        return self._gradient(images, classes)

    def _gradient(self, images: Tensor, classes: Tensor) -> Tensor:
        found = []
        for places in chunks(len(images), images):
            some = images[places].detach().requires_grad_()
            with torch.enable_grad():
                found.append(_saliency(logits_of(self.model(some)), some, classes[places]))
        return torch.cat(found)

    def _built_in(self, images: Tensor, classes: Tensor) -> Tensor:
        """Return the network's own attention; where it is not of classes, the mean of its maps for every class."""
        found = built_in_attention(self.model, images)
        check_logits(found.logits)
        size = (images.shape[-2], images.shape[-1])
        each = []
        for maps in found.maps.values():
            check_finite(maps, "the network's own maps")
            if found.per_class:
                index = classes.clamp(min=0)[..., None, None].expand(-1, -1, *maps.shape[-2:])
                chosen = maps.gather(1, index)
            else:
                chosen = normalize_maps(maps).mean(1, keepdim=True).expand(-1, classes.shape[1], -1, -1)
            each.append(resize_maps(normalize_maps(chosen.float()), size))
        return torch.stack(each).mean(0)


def _resized(images: Tensor, scale: float) -> Tensor:
    size = [max(round(length * scale), 1) for length in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def _saliency(logits: Tensor, images: Tensor, classes: Tensor) -> Tensor:
    """Return the gradient's largest magnitude over channels, smoothed, (B, H, W)."""
    check_logits(logits)
    score = (logits.gather(1, classes.clamp(min=0)) * (classes >= 0)).sum()
    (gradient,) = torch.autograd.grad(score, images)
    window = [max(length // _SMOOTHED, 1) // 2 * 2 + 1 for length in images.shape[-2:]]
    padding = [side // 2 for side in window]
    strength = gradient.abs().amax(1, keepdim=True)
    return F.avg_pool2d(strength, window, 1, padding, count_include_pad=False).squeeze(1)
