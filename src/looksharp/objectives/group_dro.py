"""GroupDRO: the groups with the highest loss weigh most; the baseline where groups are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from looksharp.batch import Batch
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.classification import Smoothing, classification_loss

if TYPE_CHECKING:
    from looksharp.data.split import Pixels, Split

__all__ = ["GroupDRO", "group_sizes_of"]

_UNKNOWN = (
    "group_dro needs the group of every image, but groups are not known; give the data a groups.csv (columns path, "
    "group), or train with objective classification"
)


def group_sizes_of(groups: Tensor | None) -> list[int]:
    """Count the images of each group, from every image's group (N,).

    Raises:
        ValueError: if groups are not known.
    """
    if groups is None:
        raise ValueError(_UNKNOWN)
    sizes: list[int] = groups.bincount().tolist()
    return sizes


@PARTS.register("group_dro")
@dataclass(eq=False)
class GroupDRO(Part):
    """Classification with the worst groups weighted up: distributionally robust optimisation over known groups.

    Sagawa et al. 2020, "Distributionally Robust Neural Networks for Group Shifts", Algorithm 1 on batches: with
    l_g the mean loss of group g in the batch, q_g <- q_g exp(step_size (l_g + adjustment / sqrt(n_g))), divided by
    their sum; the loss is sum_g q_g l_g. As in the authors' code, q moves before the loss is weighted. Unlike
    there, the weight of a group that a batch lacks moves only by the division, since its loss was not observed.
    The paper uses it with strong weight decay or early stopping: a network that fits every training image has no
    worse group left. Draw groups equally often (`balance: group`), as the paper does.

    A group without a training image (the cue's counter-examples at rho 1.0, say) cannot have a weight: it gets
    none where `group_sizes` is 0, and with one group left this is plain training. Evaluation
    leaves q as it is. Over several processes groups' losses are those of all processes' batches together.

    Args:
        step_size: eta_q, the step size of q.
        adjustment: C of the group adjustment C / sqrt(n_g) (Sec. 3.3), which weights small groups up; off at 0.
        group_sizes: n_g, each group's number of training images; `prepare` counts them. Without them, groups are
            added as they occur.
        label_smoothing: share of the target spread over all classes.

    Attributes:
        log_weights: (G,) logarithms of the groups' weights but for a constant; saved with a checkpoint.

    Raises:
        ValueError: in the call, if the batch has no groups, or a group that `group_sizes` lacks.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> batch = Batch(torch.rand(3, 3, 32, 32), torch.tensor([1, 7, 1]), group=torch.tensor([0, 1, 0]))
        >>> objective = GroupDRO(group_sizes=[2, 1])
        >>> objective(CifarResNet(20, 10), batch).loss.backward()
        >>> objective.weights.shape
        torch.Size([2])

    """

    classifies = True

    step_size: float = 0.01
    adjustment: float = 0.0
    group_sizes: list[int] | None = None
    label_smoothing: Smoothing = 0.0

    def __post_init__(self) -> None:
        for name, value in {"step_size": self.step_size, "adjustment": self.adjustment}.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number >= 0; got {value}")
        sizes = self.group_sizes
        if sizes is not None and (min(sizes, default=-1) < 0 or not any(sizes)):
            raise ValueError(f"group_sizes must be the groups' numbers of training images; got {sizes}")
        self._count(sizes)

    def prepare(self, images: Split, pixels: Pixels, seed: int) -> None:
        """Count each group's training images, unless `group_sizes` is given.

        Raises:
            ValueError: if groups are not known.
        """
        if self.group_sizes is None:
            self._count(group_sizes_of(images.groups))

    def _count(self, sizes: list[int] | None) -> None:
        self.log_weights: Tensor
        self.adjustments: Tensor
        self.known = sizes is not None
        counts = torch.tensor(sizes or [], dtype=torch.float32)
        self.register_buffer("log_weights", torch.where(counts > 0, 0.0, -torch.inf))
        self.register_buffer("adjustments", self.adjustment * counts.clamp(min=1).rsqrt(), persistent=False)

    @property
    def weights(self) -> Tensor:
        """Return the groups' weights q (G,), which sum to 1."""
        return self.log_weights.softmax(0)

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return no layers."""
        return ()

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Return the weighted sum of the groups' mean losses; in training the weights are updated first."""
        group, training = forward.batch.group, forward.model.training and forward.differentiable
        if group is None:
            raise ValueError(_UNKNOWN)
        if self.adjustment and not self.known:
            raise ValueError(
                f"adjustment {self.adjustment:g} needs the groups' numbers of training images: give group_sizes"
            )
        self._admit(group)
        losses = classification_loss(forward.logits, forward.batch, self.label_smoothing, "none")
        member = F.one_hot(group, len(self.log_weights)).to(losses.dtype)  # (B, G)
        sums, counts = (losses.unsqueeze(1) * member).sum(0), member.sum(0)  # (G,)
        seen, processes = torch.stack([sums.detach(), counts]), 1
        if training and distributed.is_initialized():
            distributed.all_reduce(seen)
            processes = distributed.get_world_size()  # whose gradients are then averaged
        present, counts = seen[1] > 0, seen[1].clamp(min=1)
        if training:
            observed = seen[0] / counts + self.adjustments
            self.log_weights += self.step_size * observed.where(present, 0)
        return {"classification": Term((self.weights * sums / counts).sum() * processes)}, {}

    def _admit(self, group: Tensor) -> None:
        """Check the groups, where nothing waits for it; where their number is not known, take up new ones."""
        if self.known and group.device.type != "cpu":
            return
        low, high = int(group.min()), int(group.max())
        if not self.known:
            self._grow(high + 1)
        sized = len(self.log_weights)
        if not 0 <= low <= high < sized or (self.log_weights[group] == -torch.inf).any():
            raise ValueError(
                f"groups must be 0 to {sized - 1} and of those that have training images (group_sizes); "
                f"got {group.unique().tolist()}"
            )

    def _grow(self, groups: int) -> None:
        new = groups - len(self.log_weights)
        if new > 0:
            with torch.inference_mode(False):  # else training could not update them afterwards
                self.log_weights, self.adjustments = (
                    torch.cat([old, old.new_zeros(new)]) for old in (self.log_weights, self.adjustments)
                )

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: object) -> None:
        if not self.known:
            self._grow(len(state_dict.get(f"{prefix}log_weights", ())))
        super()._load_from_state_dict(state_dict, prefix, *rest)
