import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from looksharp.attention.attend import attention_maps
from looksharp.attention.recording import record
from looksharp.attention.second_derivative import FastSecondDerivative


@pytest.mark.parametrize("inplace", [True, False])
def test_hard_sigmoid(inplace):
    """Torch's own has no second derivative, so that MobileNetV3 could not be trained on its maps."""
    values = torch.linspace(-4.1, 4.1, 12, dtype=torch.float64, requires_grad=True)
    with FastSecondDerivative():
        output = F.hardsigmoid(values * 1, inplace)
    torch.testing.assert_close(output, F.hardsigmoid(values))
    (gradient,) = torch.autograd.grad(output.square().sum(), values, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), values)
    torch.testing.assert_close(second, torch.where(values.abs() < 3, 2 / 36, 0.0).double())
    with torch.no_grad():
        changed = values * 1
        with FastSecondDerivative():
            F.hardsigmoid(changed, inplace)
    assert torch.equal(changed, F.hardsigmoid(values) if inplace else values)


class Gated(nn.Module):
    """All that maps are differentiated through twice: convolutions, a hard sigmoid, attention."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        features = self.first(images).tanh()
        features = self.second(features) * F.hardsigmoid(features)
        tokens = features.flatten(2).transpose(1, 2)  # (B, N, C)
        return self.head(F.scaled_dot_product_attention(tokens, tokens, tokens).mean(1))


def test_a_recorded_network_has_all_second_derivatives():
    model, images = Gated().double(), torch.rand(2, 3, 4, 4, dtype=torch.float64)
    with record(model, ["first"]) as features:
        logits = model(images)
    classes = torch.tensor([[0, 1], [2, 3]])
    maps = attention_maps(logits, features, classes, create_graph=True, signed=True)["first"]
    derivatives = torch.autograd.grad(maps.square().sum(), model.second.weight, retain_graph=True)[0]
    step = torch.zeros_like(model.second.weight)
    step[1, 2, 0, 1] = 1e-6
    values = []
    for sign in (1, -1):
        other = copy.deepcopy(model)
        other.second.weight.data.add_(sign * step)
        with record(other, ["first"]) as features:
            logits = other(images)
        values.append(attention_maps(logits, features, classes, signed=True)["first"].square().sum())
    torch.testing.assert_close(derivatives[1, 2, 0, 1], (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-12)


def test_vectors_of_zeros_are_normalised_with_a_second_derivative():
    """Windows that are padded hold such vectors (Swin V2); elsewhere both derivatives are torch's."""
    torch.manual_seed(0)
    vectors = torch.randn(4, 6, dtype=torch.float64)
    vectors[1] = 0
    vectors.requires_grad_()

    def derivatives(normalize):
        output = normalize(vectors, dim=-1)
        (first,) = torch.autograd.grad(output[..., 0].exp().sum(), vectors, create_graph=True)
        return output, first, torch.autograd.grad(first.square().sum(), vectors)[0]

    expected = derivatives(F.normalize)
    assert not expected[2][1].isfinite().all()
    with FastSecondDerivative():
        found = derivatives(F.normalize)
    assert all(each.isfinite().all() for each in found)
    others = [0, 2, 3]
    for each, other in zip(found, expected, strict=True):
        torch.testing.assert_close(each[others], other[others])
    torch.testing.assert_close(found[1], expected[1])
