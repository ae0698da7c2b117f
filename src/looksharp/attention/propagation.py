"""Relevance of a transformer's tokens, from its attention weights: the papers' equations as pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["attention_rollout", "gradient_relevance", "positive_sensitivity"]


def attention_rollout(weights: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Compute rows of attention rollout: the product over layers of (A + I) / 2, A the mean of the heads' weights.

    Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", Eq. 1 and Sec. 3. A layer's residual
    connection is the identity. Only the rows asked for are multiplied, from the last layer to the first.

    Args:
        weights: each layer's attention weights (B, heads, N, N), the first layer's first; rows sum to 1.
        rows: weight of each token in what is read after the last layer, (B, R, N).

    Returns:
        `rows` times the rollout (B, R, N): the weight of each token of the first layer's input.

    Example:
        >>> import torch
        >>> even = torch.full((1, 2, 4, 4), 0.25)
        >>> attention_rollout([even, even], torch.eye(4)[None, :1])
        tensor([[[0.4375, 0.1875, 0.1875, 0.1875]]])

    """
    for layer in reversed(weights):
        # The mean comes last, so that no layer's weights are written again.
        rows = ((rows.unsqueeze(1) @ layer).mean(1) + rows) / 2
    return rows


def gradient_relevance(weights: Sequence[Tensor], gradients: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Compute rows of the relevance R, from R = I and R <- R + A R in each layer, A the mean over heads of (dA * A)+.

    Chefer, Gur and Wolf 2021, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers" (ICCV), Eq. 5 and 6, for self-attention. Their other paper of that year, "Transformer
    Interpretability Beyond Attention Visualization" (CVPR), has relevances of its own in place of A, which need a
    rule for each kind of layer. Only the rows asked for are multiplied, from the last layer to the first.

    Args:
        weights: each layer's attention weights (B, heads, N, N), the first layer's first.
        gradients: derivatives of the class's logit with respect to them, of the same shapes.
        rows: weight of each token in what is read after the last layer, (B, R, N).

    Returns:
        `rows` times R (B, R, N): the relevance of each token of the first layer's input, at least that in `rows`.
    """
    for layer, gradient in zip(reversed(weights), reversed(gradients), strict=True):
        rows = rows + rows @ (layer * gradient).relu().mean(1)
    return rows


def positive_sensitivity(gradient: Tensor) -> Tensor:
    """Compute LeGrad's term of one layer: the mean over heads and queries of the positive part of the gradient.

    Bousselham et al. 2024, "LeGrad: An Explainability Method for Vision Transformers via Feature Formation
    Sensitivity", Sec. 3: E = 1 / (h Q) sum over heads and queries of (ds/dA)+.

    Args:
        gradient: derivative of a score with respect to attention weights, (B, heads, Q, N).

    Returns:
        Sensitivity to each of the N tokens attended to, (B, N).
    """
    return gradient.relu().mean((1, 2))
