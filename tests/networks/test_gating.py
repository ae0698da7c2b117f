import pytest
import torch
from torch.nn import functional as F

from looksharp.networks.gating import GlobalGate, mix_log_probabilities, mix_probabilities, mix_scores


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_gates_are_equations_6_and_7():
    gate = GlobalGate(6, outputs=3).double()
    pooled = torch.randn(4, 6, dtype=torch.float64)
    for found, z in zip(gate(pooled), pooled, strict=True):
        exponents = [sum(w * v for w, v in zip(row, z, strict=True)).tanh().exp() for row in gate.score.weight]
        torch.testing.assert_close(found.flatten(), torch.stack(exponents) / sum(exponents))


def test_gates_of_the_authors_are_normalised_over_the_batch():
    gate = GlobalGate(6, outputs=3, normalize=True).double()
    pooled = torch.randn(4, 6, dtype=torch.float64)
    scores = pooled @ gate.score.weight.T
    scores = (scores - scores.mean(0)) / (scores.var(0, unbiased=False) + 1e-5).sqrt()
    exponents = scores.tanh().exp()
    torch.testing.assert_close(gate(pooled).flatten(1), exponents / exponents.sum(1, keepdim=True))


@pytest.mark.parametrize("multilabel", [True, False])
@pytest.mark.parametrize("mix", [mix_probabilities, mix_log_probabilities])
def test_all_weight_on_the_network_leaves_its_logits(mix, multilabel):
    outputs = 5 * torch.randn(3, 4, 6, dtype=torch.float64)
    gates = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(3, 4)
    torch.testing.assert_close(mix(outputs, gates, multilabel=multilabel), outputs[:, -1])


@pytest.mark.parametrize("mix", [mix_probabilities, mix_log_probabilities])
def test_mixed_multilabel_probabilities(mix):
    outputs = torch.randn(3, 4, 6, dtype=torch.float64)
    gates = torch.rand(3, 4, dtype=torch.float64).softmax(1)
    probabilities = 1 / (1 + (-outputs).exp())
    weight = gates[:, :, None]
    if mix is mix_probabilities:
        expected = (weight * probabilities).sum(1)
    else:  # the normalised product of powers
        present, absent = (probabilities**weight).prod(1), ((1 - probabilities) ** weight).prod(1)
        expected = present / (present + absent)
    torch.testing.assert_close(mix(outputs, gates, multilabel=True).sigmoid(), expected)


@pytest.mark.parametrize("multilabel", [True, False])
@pytest.mark.parametrize("mix", [mix_probabilities, mix_log_probabilities])
def test_mixing_is_stable_and_differentiable(mix, multilabel):
    outputs = torch.tensor([[[300.0, -300.0], [-300.0, 300.0]]], requires_grad=True)
    mixed = mix(outputs, torch.tensor([[0.5, 0.5]]), multilabel=multilabel)
    mixed.sum().backward()
    torch.testing.assert_close(mixed[0, 0], mixed[0, 1])  # a tie
    assert outputs.grad.isfinite().all()
    outputs = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    gates = torch.rand(2, 3, dtype=torch.float64).softmax(1).requires_grad_()
    assert torch.autograd.gradcheck(lambda o, g: mix(o, g, multilabel=multilabel), (outputs, gates))


def test_mixed_scores_have_the_softmax_of_mixed_log_probabilities():
    outputs = torch.randn(4, 3, 5, dtype=torch.float64)
    gates = torch.rand(4, 3, dtype=torch.float64).softmax(1)
    mixed = mix_scores(outputs, gates)
    for b in range(4):  # Eq. 8 by a loop
        expected = sum(gates[b, n] * outputs[b, n] for n in range(3))
        torch.testing.assert_close(mixed[b], expected)
    torch.testing.assert_close(mixed.softmax(1), mix_log_probabilities(outputs, gates).softmax(1))
    targets = torch.tensor([0, 4, 2, 2])
    losses = [F.cross_entropy(mix(outputs, gates), targets) for mix in (mix_scores, mix_log_probabilities)]
    torch.testing.assert_close(*losses)
    assert not torch.allclose(mixed, mix_log_probabilities(outputs, gates))
    torch.testing.assert_close(mix_scores(outputs, gates, multilabel=True), mixed)
