"""The loss that trains an attention branch: its own classification."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from looksharp.attention.recording import unwrapped
from looksharp.batch import Batch
from looksharp.networks.attention_branch import AttentionBranch
from looksharp.objectives.base import PARTS, Forward, Part, Term
from looksharp.objectives.classification import Smoothing, classification_loss

__all__ = ["BranchLoss"]


@PARTS.register("branch")
@dataclass(eq=False)
class BranchLoss(Part):
    """The term "branch": the classification loss of an attention branch's own logits.

    ABN Eq. 3: L = L_att + L_per is `Classification() + BranchLoss()`; with `ICASC() + BranchLoss()` the branch is
    trained beside ICASC's terms. For multi-label images it is the loss of binary labels, Sec. 3.4.

    Args:
        weight: weight of the term.
        label_smoothing: share of the target spread over all classes.

    Example:
        >>> import torch
        >>> from looksharp.networks import AttentionBranchNetwork, CifarResNet
        >>> from looksharp.objectives import Classification
        >>> network = AttentionBranchNetwork(CifarResNet(20, 10), image_size=32)
        >>> step = (Classification() + BranchLoss())(network, (torch.rand(2, 3, 32, 32), torch.tensor([1, 7])))
        >>> sorted(step.terms)
        ['branch', 'classification']

    """

    weight: float = 1.0
    label_smoothing: Smoothing = 0.0

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return the branch's pooled class maps, and its attention.

        Raises:
            ValueError: if the model has no attention branch.
        """
        modules = unwrapped(model).named_modules()
        names = [name for name, module in modules if isinstance(module, AttentionBranch)]
        if not names:
            raise ValueError(
                f"BranchLoss needs a network with an attention branch, such as AttentionBranchNetwork(backbone); "
                f"got {type(unwrapped(model)).__name__}"
            )
        return tuple(f"{name}.{layer}".lstrip(".") for name in names for layer in ("pool", "attention"))

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Return the mean over the batch, and the branch's maps."""
        layers = self.recorded(forward.model, forward.batch)
        value = forward.logits.new_zeros(())
        for pool in layers[::2]:
            logits = forward.features[pool].flatten(1)
            value = value + classification_loss(logits, forward.batch, self.label_smoothing)
        maps = {layer: forward.features[layer] for layer in layers[1::2]}
        return {"branch": Term(value, self.weight)}, maps
