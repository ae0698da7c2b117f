"""SEC: learn segmentation from seeds, labels and the edges of the image."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.recording import unwrapped
from looksharp.batch import Batch, BatchMarks
from looksharp.crf import CRFKernels, dense_crf
from looksharp.networks.large_fov import LargeFOV, background_and_classes
from looksharp.networks.rank_pooling import decay_at
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.sec_equations import Decays, boundary_loss, expansion_loss, floored, seeding_loss

if TYPE_CHECKING:
    from looksharp.data.split import Pixels, Split

__all__ = ["SEC", "seeds_on_grid"]

_SIDE = 41  # of SEC's maps, for which decays and widths are given


@PARTS.register("sec")
@dataclass(eq=False)
class SEC(Part):
    """Seed, expand and constrain: a segmentation from image labels (Kolesnikov and Lampert 2016).

    Eq. 1: L = L_seed + L_expand + L_constrain, of the scores of a network such as `LargeFOV`. Seeds are the batch's
    marks: masks of classes, and of the background under the class behind the last. Decays and the widths of the CRF's
    kernels are those of SEC at 41 x 41 positions, and weigh the same shares of a map of another size. The CRF computes
    all pairs of positions, and no gradient passes through it.

    Args:
        seeding: weight of the seeding loss, see `seeding_loss`.
        expansion: weight of the expansion loss, see `expansion_loss`.
        boundary: weight of the constrain-to-boundary loss, see `boundary_loss`; with 0 no CRF is run.
        present: decay of the pooling of classes in the image.
        background: decay of the pooling of the background.
        absent: decay of the pooling of classes that are not in the image.
        crf_scale: number of times that photographs are larger than a map of 41 x 41; it scales the CRF's kernels.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> network = LargeFOV(CifarResNet(20, 10), image_size=32, width=32)
        >>> step = SEC()(network, (torch.rand(2, 3, 32, 32), torch.tensor([1, 7])))
        >>> sorted(step.terms)
        ['boundary', 'expansion', 'seeding']

    """

    reads_marks = True
    segments = True

    seeding: float = 1.0
    expansion: float = 1.0
    boundary: float = 1.0
    _: KW_ONLY
    present: float = Decays().present
    background: float = Decays().background
    absent: float = Decays().absent
    crf_scale: float = 12.0

    def __post_init__(self) -> None:
        for name in ("present", "background", "absent"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1; got {getattr(self, name):g}")
        if not self.crf_scale > 0:
            raise ValueError(f"crf_scale must be above 0; got {self.crf_scale:g}")
        self._colours = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, until the data say theirs

    def prepare(self, images: Split, pixels: Pixels, seed: int) -> None:
        """Take note of how colours are normalised, since the CRF reads the image's own."""
        self._colours = pixels.mean, pixels.std

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the layer of dense scores.

        Raises:
            ValueError: if the model scores no positions.
        """
        for name, module in unwrapped(model).named_modules():
            if isinstance(module, LargeFOV):
                return (f"{name}.scores".lstrip("."),)
        raise ValueError(
            f"SEC needs a network that scores every position, such as --architecture large_fov makes; "
            f"got {type(unwrapped(model)).__name__}"
        )

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Return the three losses, each averaged over the batch, and the map of every class."""
        batch = forward.batch
        (layer,) = self.recorded(forward.model, batch)
        odds = background_and_classes(forward.features[layer])  # (B, 1 + C, h, w)
        found, grid = floored(odds), (odds.shape[-2], odds.shape[-1])
        positions = grid[0] * grid[1]
        seeds = seeds_on_grid(batch.marks, odds)
        decays = Decays(*(decay_at(decay, positions) for decay in (self.present, self.background, self.absent)))
        losses = {
            "seeding": (seeding_loss(found, seeds), self.seeding),
            "expansion": (expansion_loss(found, batch.multi_hot(odds.shape[1] - 1), decays), self.expansion),
        }
        if self.boundary:
            refined = floored(self._refined(found, batch.image, grid))
            losses["boundary"] = boundary_loss(found, refined), self.boundary
        return {name: Term(values.mean(), weight) for name, (values, weight) in losses.items()}, {layer: odds[:, 1:]}

    def _refined(self, found: Tensor, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return what the CRF makes of probabilities (B, 1 + C, h, w)."""
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in self._colours)
        small = F.interpolate(images.detach().float(), grid, mode="bilinear", antialias=True)
        kernels = CRFKernels().scaled(self.crf_scale * _SIDE / min(grid))
        return dense_crf(found.detach().log(), (small * std + mean) * 255, kernels, method="exact")


def seeds_on_grid(marks: BatchMarks | None, like: Tensor) -> Tensor:
    """Return seeds (B, 1 + C, h, w), the background first, from masks whose class C is the background.

    Args:
        marks: masks of any size; None if there are none.
        like: a tensor of the shape wanted.

    Raises:
        ValueError: if a mask is of a class that is not there.
    """
    seeds = torch.zeros_like(like)
    if not marks:
        return seeds
    channel = (marks.label + 1) % like.shape[1]
    if marks.label.device.type == "cpu" and int(marks.label.max()) >= like.shape[1]:
        raise ValueError(f"seeds must be of classes 0 to {like.shape[1] - 1}; got {int(marks.label.max())}")
    masks = F.interpolate(marks.mask.unsqueeze(1), (like.shape[-2], like.shape[-1]), mode="nearest-exact").squeeze(1)
    seeds[marks.sample, channel] = (masks > 0.5).to(seeds.dtype)
    return seeds
