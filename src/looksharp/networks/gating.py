"""WARN's global gates, and mixtures of gated outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GlobalGate", "mix_log_probabilities", "mix_probabilities", "mix_scores"]


class GlobalGate(nn.Module):
    """Gate several outputs by the last feature activation: softmax(tanh(W z)).

    WARN Eq. 6 and 7. The authors' code has BatchNorm before the tanh. Initialised as by He et al. (2015).

    Args:
        features: length of z.
        outputs: number of gated outputs.
        normalize: put BatchNorm before the tanh.

    """

    def __init__(self, features: int, outputs: int, *, normalize: bool = False) -> None:
        super().__init__()
        self.score = nn.Linear(features, outputs, bias=False)
        nn.init.kaiming_normal_(self.score.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm1d(outputs) if normalize else nn.Identity()

    def forward(self, pooled: Tensor) -> Tensor:
        """Return gates (B, outputs, 1, 1) that sum to 1, for z (B, features)."""
        scores = self.norm(self.score(pooled))  # (B, outputs)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return scores.tanh().softmax(1)[..., None, None]


def mix_probabilities(outputs: Tensor, gates: Tensor, *, multilabel: bool = False) -> Tensor:
    """Return logits of the gated mean of the outputs' probabilities.

    WARN Eq. 8, output = sum_l g_l p_l, with p_l the softmax of output l. The result is log(output), raised by the
    log of the last output's normaliser, a constant over classes: with all the weight on the last output it is that
    output, and scores keep the scale of logits. In multi-label images a class's probability is a sigmoid, and the
    result the logit of the mean.

    Args:
        outputs: (B, N, classes) logits, the network's own last.
        gates: (B, N), each in [0, 1], which sum to 1.
        multilabel: True if classes are independent.

    Returns:
        (B, classes).

    Example:
        >>> outputs = torch.tensor([[[0.5, 0.1, 0.4], [0.1, 0.7, 0.2]]]).log()
        >>> mix_probabilities(outputs, torch.tensor([[0.5, 0.5]])).softmax(1)
        tensor([[0.3000, 0.4000, 0.3000]])

    """
    weight = gates.log().unsqueeze(2)  # (B, N, 1)
    if multilabel:
        present = torch.logsumexp(weight + F.logsigmoid(outputs), 1)
        return present - torch.logsumexp(weight + F.logsigmoid(-outputs), 1)
    mixed = torch.logsumexp(weight + outputs.log_softmax(2), 1)
    return mixed + outputs[:, -1].logsumexp(1, keepdim=True)


def mix_log_probabilities(outputs: Tensor, gates: Tensor, *, multilabel: bool = False) -> Tensor:
    """Return the gated mean of the outputs' log-probabilities, as in the authors' code; see `mix_probabilities`.

    In multi-label images the mean of log-odds is that of the logits themselves. Cross-entropy of the result divides
    by its sum over classes; the authors take the negative log-likelihood as it is, which is the gated mean of the
    outputs' cross-entropies.

    Args:
        outputs: (B, N, classes) logits, the network's own last.
        gates: (B, N), each in [0, 1], which sum to 1.
        multilabel: True if classes are independent.

    Returns:
        (B, classes).

    """
    if multilabel:
        return mix_scores(outputs, gates)
    mixed = (gates.unsqueeze(2) * outputs.log_softmax(2)).sum(1)
    return mixed + outputs[:, -1].logsumexp(1, keepdim=True)


def mix_scores(outputs: Tensor, gates: Tensor, *, multilabel: bool = False) -> Tensor:
    """Return the gated mean of the outputs' raw scores: WARN Eq. 8 with scores in the place of probabilities.

    It differs from `mix_log_probabilities` by a constant over classes, so softmax and cross-entropy are the same.

    Args:
        outputs: (B, N, classes) logits.
        gates: (B, N), each in [0, 1], which sum to 1.
        multilabel: not used; the mean is the same.

    Returns:
        (B, classes).

    """
    return (gates.unsqueeze(2) * outputs).sum(1)
