"""Attention by matrix products, for the calls of one thread alone."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.attention.replaced import ReplacedFunctions, Replacements

__all__ = ["UnfusedAttention", "attention_weights", "multi_head_with_weights"]

_MULTI_HEAD = signature(F.multi_head_attention_forward)


class UnfusedAttention(ReplacedFunctions):
    """Compute scaled dot-product attention by matrix products and a softmax inside this context.

    Fused kernels have no second derivative, and no batched first one. `torch.nn.attention.sdpa_kernel` switches them
    off for the whole process, other threads included, and two threads that use it may leave them off; this context
    changes nothing outside its own thread.

    Args:
        active: asked at every call; those for which it is False are left alone.

    Example:
        >>> query = torch.rand(1, 2, 4, 8)
        >>> with UnfusedAttention():
        ...     attended = F.scaled_dot_product_attention(query, query, query)
        >>> torch.testing.assert_close(attended, (query @ query.mT / 8**0.5).softmax(-1) @ query)

    """

    def __init__(self, active: Callable[[], bool] = lambda: True) -> None:
        replacements: Replacements = {
            F.scaled_dot_product_attention: _attention,
            F.multi_head_attention_forward: _multi_head,
        }
        super().__init__(replacements, active)


def attention_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the weights of a scaled dot-product attention, and the values whose sums by them it returns."""
    query, key, value, attn_mask = _as_fused(query, key, value, attn_mask)
    with torch.autocast(query.device.type, enabled=False):
        if attn_mask is None and not (dropout_p or is_causal or enable_gqa):
            # As torch's own, less its search for queries that may attend to nothing.
            scaled = query * (query.shape[-1] ** -0.5 if scale is None else scale)
            return (scaled @ key.transpose(-2, -1)).softmax(-1), value
        # Of values without columns, because the sums are not wanted.
        _, weights = torch.ops.aten._scaled_dot_product_attention_math(
            query, key, value[..., :0], attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
        shared = query.shape[-3] // value.shape[-3] if enable_gqa else 1
        return weights, value.repeat_interleave(shared, -3) if shared > 1 else value


def multi_head_with_weights(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """Call `F.multi_head_attention_forward` unfused; return its output, each head's weights, and the weights asked for.

    Each head's are a view of what the network multiplies its values by.
    """
    given = _MULTI_HEAD.bind(*args, **kwargs)
    wanted = given.arguments.get("need_weights", True)
    averaged = given.arguments.get("average_attn_weights", True)
    given.arguments |= {"need_weights": True, "average_attn_weights": False}
    attended, found = F.multi_head_attention_forward(*given.args, **given.kwargs)
    weights = cast(Tensor, found)
    return attended, weights, (weights.mean(-3) if averaged else weights) if wanted else None


def _as_fused(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Convert what fused attention is given as it does itself: by autocast, and to a mask that is added."""
    device = query.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        # As torch does it, float64 is left alone.
        query, key, value = (x if x.dtype == torch.float64 else x.to(dtype) for x in (query, key, value))
    if attn_mask is not None:
        none = torch.zeros((), dtype=query.dtype, device=query.device)
        attn_mask = none.where(attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else attn_mask.to(query.dtype)
    return query, key, value, attn_mask


def _attention(*args: Any, **kwargs: Any) -> Tensor:
    weights, value = attention_weights(*args, **kwargs)
    # Disabled, because torch keeps the precision of the softmax within.
    with torch.autocast(weights.device.type, enabled=False):
        return weights @ value


def _multi_head(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """Call `F.multi_head_attention_forward` for its weights, because it then computes attention unfused."""
    attended, _, wanted = multi_head_with_weights(*args, **kwargs)
    return attended, wanted
