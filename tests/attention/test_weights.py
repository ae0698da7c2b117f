import gc
import threading
import weakref
from contextlib import ExitStack

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from looksharp.attention.replaced import replaced_within
from looksharp.attention.weights import AttentionWeights, weight_gradients


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def by_hand(query, key, bias=0.0, scale=None):
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale) + bias
    exponent = (scores - scores.amax(-1, keepdim=True)).exp()
    return exponent / exponent.sum(-1, keepdim=True)


def gradient_by_differences(function, weights, step=1e-6):
    """Central differences of a function of attention weights (B, heads, N, N)."""
    found = torch.zeros_like(weights)
    for place in range(weights.numel()):
        change = torch.zeros_like(weights)
        change.view(-1)[place] = step
        found.view(-1)[place] = (function(weights + change) - function(weights - change)) / (2 * step)
    return found


@pytest.mark.parametrize("masked", [None, "added", "boolean", "causal", "scaled"])
def test_scaled_dot_product_attention(masked):
    query, key, value = torch.randn(3, 2, 3, 5, 4, dtype=torch.float64).unbind()
    options, bias, scale = {}, 0.0, None
    if masked == "added":
        bias = torch.randn(3, 5, 5, dtype=torch.float64)
        options = {"attn_mask": bias}
    elif masked == "boolean":
        keep = torch.rand(5, 5) > 0.3
        keep.fill_diagonal_(True)
        bias, options = torch.zeros(5, 5, dtype=torch.float64).masked_fill(~keep, -torch.inf), {"attn_mask": keep}
    elif masked == "causal":
        bias, options = torch.full((5, 5), -torch.inf, dtype=torch.float64).triu(1), {"is_causal": True}
    elif masked == "scaled":
        scale, options = 0.3, {"scale": 0.3}
    expected = F.scaled_dot_product_attention(query, key, value, **options)
    with AttentionWeights() as recorded:
        attended = F.scaled_dot_product_attention(query, key, value, **options)
    torch.testing.assert_close(attended, expected)
    torch.testing.assert_close(recorded.found[0].values, by_hand(query, key, bias, scale))


def test_grouped_queries():
    query, (key, value) = torch.randn(1, 4, 5, 8), torch.randn(2, 1, 2, 5, 8)
    expected = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    with AttentionWeights() as recorded:
        attended = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    torch.testing.assert_close(attended, expected)
    torch.testing.assert_close(recorded.found[0].values, by_hand(query, key.repeat_interleave(2, 1)))


@pytest.mark.parametrize(
    "softmax", [torch.softmax, F.softmax, lambda x, dim: x.softmax(dim), lambda x, dim: nn.Softmax(dim)(x)]
)
@pytest.mark.parametrize("dim", [-1, 3])
def test_a_softmax_of_unfused_attention(softmax, dim):
    scores = torch.randn(2, 3, 5, 5)
    with AttentionWeights() as recorded:
        weights = softmax(scores, dim)
    assert recorded.found[0].values is weights
    torch.testing.assert_close(weights, scores.exp() / scores.exp().sum(-1, keepdim=True))


@pytest.mark.parametrize(("shape", "dim"), [((2, 3, 5, 5), 1), ((2, 10), -1), ((6, 5, 5), -1)])
def test_another_softmax_is_not_recorded(shape, dim):
    with AttentionWeights() as recorded:
        torch.randn(shape).softmax(dim)
    assert not recorded.found


@pytest.mark.parametrize("wanted", [{"need_weights": False}, {"need_weights": True}, {"average_attn_weights": False}])
def test_multi_head_attention_returns_what_it_was_asked_for(wanted):
    module, tokens = (
        nn.MultiheadAttention(8, 2, batch_first=True).double().eval(),
        torch.randn(3, 5, 8, dtype=torch.float64),
    )
    expected, expected_weights = module(tokens, tokens, tokens, **wanted)
    with AttentionWeights() as recorded:
        attended, weights = module(tokens, tokens, tokens, **wanted)
    torch.testing.assert_close(attended, expected)
    torch.testing.assert_close(weights, expected_weights)
    each = module(tokens, tokens, tokens, average_attn_weights=False)[1]
    torch.testing.assert_close(recorded.found[0].values, each)


def test_gradients_of_fused_attention_equal_differences():
    query, key, value = torch.randn(3, 1, 2, 3, 4, dtype=torch.float64, requires_grad=True).unbind()
    read = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    with AttentionWeights() as recorded:
        score = (F.scaled_dot_product_attention(query, key, value).tanh() * read).sum()
    (found,) = weight_gradients(score, torch.ones_like(score), recorded.found)
    with torch.no_grad():
        expected = gradient_by_differences(
            lambda weights: ((weights @ value).tanh() * read).sum(), recorded.found[0].values
        )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_gradients_of_multi_head_attention_equal_differences():
    module = nn.MultiheadAttention(4, 2, batch_first=True).double().eval()
    tokens = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    with AttentionWeights() as recorded:
        score = module(tokens, tokens, tokens, need_weights=False)[0].square().sum()
    (found,) = weight_gradients(score, torch.ones_like(score), recorded.found)
    values = F.linear(tokens, module.in_proj_weight[8:], module.in_proj_bias[8:]).unflatten(2, (2, 2)).transpose(1, 2)
    with torch.no_grad():
        expected = gradient_by_differences(
            lambda weights: module.out_proj((weights @ values).transpose(1, 2).flatten(2)).square().sum(),
            recorded.found[0].values,
        )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_queries_and_keys_that_are_constant():
    query, value = torch.zeros(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    with AttentionWeights() as recorded:
        score = F.scaled_dot_product_attention(query, query, value).sum()
    (gradient,) = weight_gradients(score, torch.ones_like(score), recorded.found)
    torch.testing.assert_close(gradient, value.sum(-1)[:, :, None].expand(-1, -1, 3, -1))


def test_weights_are_freed_without_garbage_collection():
    query = torch.randn(1, 2, 3, 4)
    gc.disable()
    try:
        with AttentionWeights() as recorded:
            F.scaled_dot_product_attention(query, query, query)
        values = weakref.ref(recorded.found[0].values)
        del recorded
        assert values() is None
    finally:
        gc.enable()


def test_a_score_that_does_not_depend_has_a_gradient_of_zero():
    query = torch.randn(1, 2, 3, 4, requires_grad=True)
    with AttentionWeights() as recorded:
        F.scaled_dot_product_attention(query, query, query)
    assert torch.equal(weight_gradients(query, torch.ones_like(query), recorded.found)[0], torch.zeros(1, 2, 3, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_under_autocast(dtype):
    query = torch.randn(1, 2, 5, 4, requires_grad=True)
    with torch.autocast("cpu", dtype), AttentionWeights() as recorded:
        attended = F.scaled_dot_product_attention(query, query, query)
    assert attended.dtype == recorded.found[0].values.dtype == dtype
    (gradient,) = weight_gradients(attended, torch.ones_like(attended), recorded.found)
    assert gradient.dtype == recorded.found[0].plain().dtype == torch.float32
    torch.testing.assert_close(gradient, query.detach().sum(-1)[..., None, :].expand_as(gradient), rtol=0.02, atol=0.02)


def test_functions_of_torch_are_as_before_even_after_an_error_and_in_other_threads():
    functions = (
        F.scaled_dot_product_attention,
        F.multi_head_attention_forward,
        torch.softmax,
        F.softmax,
        torch.Tensor.softmax,
    )
    query, recorded = torch.randn(1, 2, 5, 4), AttentionWeights()
    thread = threading.Thread(target=F.scaled_dot_product_attention, args=(query, query, query))
    with recorded:
        thread.start()
        thread.join()
    with pytest.raises(RuntimeError, match="size"), recorded:
        F.scaled_dot_product_attention(query, query[..., :3], query)
    assert not recorded.found
    F.scaled_dot_product_attention(query, query, query)
    assert not recorded.found
    assert functions == (
        F.scaled_dot_product_attention,
        F.multi_head_attention_forward,
        torch.softmax,
        F.softmax,
        torch.Tensor.softmax,
    )


def test_functions_are_replaced_while_chosen_modules_run_and_after_an_error_no_more():
    class Attends(nn.Module):
        def __init__(self, inner=None):
            super().__init__()
            self.inner = inner

        def forward(self, query):
            if len(query) == 3:
                raise RuntimeError("three")
            if self.inner is not None:
                query = self.inner(query)
            return F.scaled_dot_product_attention(query, query, query)

    outer = Attends(Attends())
    query, recorded = torch.randn(1, 2, 5, 4), AttentionWeights()
    with ExitStack() as stack:
        replaced_within(stack, [outer, outer.inner], recorded)
        expected = F.scaled_dot_product_attention(query, query, query)  # outside of the modules: not recorded
        assert not recorded.found
        torch.testing.assert_close(outer.inner(query), expected)
        assert len(recorded.found) == 1
        outer(query)  # of two modules, one within the other, each once
        assert len(recorded.found) == 3
        with pytest.raises(RuntimeError, match="three"):
            outer(torch.randn(3, 2, 5, 4))
        F.scaled_dot_product_attention(query, query, query)
        assert len(recorded.found) == 3
    outer(query)
    assert len(recorded.found) == 3
    assert not outer._forward_hooks
    assert not outer.inner._forward_pre_hooks
