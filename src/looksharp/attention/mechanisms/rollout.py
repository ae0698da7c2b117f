"""Attention rollout."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from looksharp.attention.mechanisms.base import MECHANISMS, ModelMechanism
from looksharp.attention.propagation import attention_rollout
from looksharp.attention.tokens import attend_tokens
from looksharp.settings import settings

__all__ = ["Rollout"]


@MECHANISMS.register("rollout")
@settings
class Rollout(ModelMechanism):
    """Multiply a transformer's attention weights over its layers, residuals included (attention rollout).

    Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers"; see `attention_rollout`. Read is the row of
    the class token; where several tokens are classified (a distillation token beside it, or the mean of the patches),
    the mean of their rows; where an attention pools the last tokens, its weights times the rollout. No gradient and no
    class: the map is the same for all classes. One forward.
    """

    layered = False
    signed = False
    uses_classes = False

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return one map of the patches that enter the first block, repeated for each class; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is no transformer whose layers attend to all tokens; see `tokens_of`.
        """
        found = attend_tokens(model, images)
        relevance = attention_rollout([each.plain() for each in found.weights], found.rows)  # (B, 1, N)
        return {found.tokens.blocks[0]: found.to_map(relevance).expand(-1, classes.shape[1], -1, -1).contiguous()}
