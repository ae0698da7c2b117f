"""Attention by matrix products, for the calls of one thread alone."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.attention.replaced import ReplacedFunctions, Replacements

__all__ = ["UnfusedAttention"]

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


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    device = query.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        # As torch does it, float64 is left alone.
        query, key, value = (x if x.dtype == torch.float64 else x.to(dtype) for x in (query, key, value))
    if attn_mask is not None:
        none = torch.zeros((), dtype=query.dtype, device=query.device)
        attn_mask = none.where(attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else attn_mask.to(query.dtype)
    # Disabled, because torch keeps the softmax precise within.
    with torch.autocast(device, enabled=False):
        attended, _ = torch.ops.aten._scaled_dot_product_attention_math(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    return attended


def _multi_head(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """Call `F.multi_head_attention_forward` for its weights, because it then computes attention unfused."""
    given = _MULTI_HEAD.bind(*args, **kwargs)
    wanted = given.arguments.get("need_weights", True)
    given.arguments["need_weights"] = True
    attended, weights = F.multi_head_attention_forward(*given.args, **given.kwargs)
    return attended, weights if wanted else None
