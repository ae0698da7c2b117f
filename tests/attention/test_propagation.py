import pytest
import torch

from looksharp.attention.propagation import attention_rollout, gradient_relevance, positive_sensitivity

LAYERS, BATCH, HEADS, TOKENS = 3, 2, 2, 4


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    shape = (LAYERS, BATCH, HEADS, TOKENS, TOKENS)
    return torch.randn(shape, dtype=torch.float64, generator=generator).softmax(-1).unbind()


@pytest.fixture
def gradients():
    generator = torch.Generator().manual_seed(1)
    shape = (LAYERS, BATCH, HEADS, TOKENS, TOKENS)
    return torch.randn(shape, dtype=torch.float64, generator=generator).unbind()


def product(left, right):
    return [[sum(left[i][k] * right[k][j] for k in range(TOKENS)) for j in range(TOKENS)] for i in range(TOKENS)]


def identity():
    return [[float(i == j) for j in range(TOKENS)] for i in range(TOKENS)]


def mean_over_heads(heads, value):
    return [[sum(value(h, i, j) for h in range(HEADS)) / HEADS for j in range(TOKENS)] for i in range(TOKENS)]


def test_rollout_equals_the_papers_loop(weights):
    everything = torch.eye(TOKENS, dtype=torch.float64).expand(BATCH, -1, -1)
    found = attention_rollout(weights, everything)
    for image in range(BATCH):
        rollout = identity()
        for layer in weights:
            heads = layer[image].tolist()
            mean = mean_over_heads(heads, lambda h, i, j, heads=heads: heads[h][i][j])
            rollout = product(
                [[0.5 * mean[i][j] + 0.5 * (i == j) for j in range(TOKENS)] for i in range(TOKENS)], rollout
            )
        torch.testing.assert_close(found[image], torch.tensor(rollout, dtype=torch.float64))


def test_rows_of_rollout_stay_shares(weights):
    rows = torch.tensor([[[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25]]], dtype=torch.float64).expand(BATCH, -1, -1)
    found = attention_rollout(weights, rows)
    torch.testing.assert_close(found.sum(-1), torch.ones(BATCH, 2, dtype=torch.float64))
    everything = attention_rollout(weights, torch.eye(TOKENS, dtype=torch.float64).expand(BATCH, -1, -1))
    torch.testing.assert_close(found[:, 0], everything[:, 0])
    torch.testing.assert_close(found[:, 1], everything.mean(1))


def test_relevance_equals_the_papers_loop(weights, gradients):
    everything = torch.eye(TOKENS, dtype=torch.float64).expand(BATCH, -1, -1)
    found = gradient_relevance(weights, gradients, everything)
    for image in range(BATCH):
        relevance = identity()
        for layer, gradient in zip(weights, gradients, strict=True):
            a, g = layer[image].tolist(), gradient[image].tolist()
            mean = mean_over_heads(a, lambda h, i, j, a=a, g=g: max(a[h][i][j] * g[h][i][j], 0.0))
            added = product(mean, relevance)
            relevance = [[relevance[i][j] + added[i][j] for j in range(TOKENS)] for i in range(TOKENS)]
        torch.testing.assert_close(found[image], torch.tensor(relevance, dtype=torch.float64))


def test_sensitivity_equals_the_papers_loop(gradients):
    found = positive_sensitivity(gradients[0])
    assert found.shape == (BATCH, TOKENS)
    for image in range(BATCH):
        g = gradients[0][image].tolist()
        for token in range(TOKENS):
            total = sum(max(g[h][i][token], 0.0) for h in range(HEADS) for i in range(TOKENS))
            assert float(found[image, token]) == pytest.approx(total / (HEADS * TOKENS))


def test_without_a_positive_gradient_a_token_is_relevant_to_itself_alone(weights, gradients):
    rows = torch.eye(TOKENS, dtype=torch.float64).expand(BATCH, -1, -1)
    assert torch.equal(gradient_relevance(weights, [-each.abs() for each in gradients], rows), rows)
    assert not positive_sensitivity(-gradients[0].abs()).any()
