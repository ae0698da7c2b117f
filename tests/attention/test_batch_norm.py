import copy

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

from looksharp.attention.batch_norm import _InputGradient, batch_norm
from looksharp.attention.second_derivative import FastSecondDerivative

SHAPES = {"maps": (3, 2, 2, 4), "vectors": (6, 2), "volumes": (2, 2, 2, 1, 3)}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def factors(shape, weighted=True, biased=True):
    """An input far from zero, a weight of which one entry is zero, and a bias."""
    input = 3 * torch.randn(shape, dtype=torch.float64) + 20
    weight = torch.tensor([0.0, -1.3], dtype=torch.float64) if weighted else None
    bias = torch.randn(2, dtype=torch.float64) if biased else None
    return [None if each is None else each.requires_grad_() for each in (input, weight, bias)]


def derivatives(normalize, leaves, batched=False):
    """The output, its gradients for three functions of it, and derivatives of a function of those of the input."""
    input, weight, bias = leaves
    given = [each for each in leaves if each is not None]
    output = normalize(input, None, None, weight, bias, True)
    scores = output.sin().flatten()

    def first(chosen):
        return torch.autograd.grad(scores, input, chosen, create_graph=True)[0]

    chosen = torch.linspace(-1, 1, 3 * scores.numel(), dtype=scores.dtype).view(3, -1)
    gradients = vmap(first)(chosen) if batched else torch.stack([first(each) for each in chosen])
    weights = torch.linspace(0.5, 2, gradients.numel(), dtype=scores.dtype).view_as(gradients)
    return output, gradients, torch.autograd.grad((gradients.square() * weights).sum(), given)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_equals_torch_to_the_second_derivative(shape, affine, batched):
    leaves = factors(shape, *affine)
    torch.testing.assert_close(derivatives(batch_norm, leaves, batched), derivatives(F.batch_norm, leaves, batched))


@pytest.mark.parametrize("affine", [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_derivatives_equal_differences(shape, affine):
    """Those of the parameters' gradients too."""
    leaves = [each for each in factors(shape, *affine) if each is not None]

    def normalize(*given):
        return batch_norm(given[0], None, None, *given[1:], training=True)

    assert torch.autograd.gradcheck(normalize, leaves)
    assert torch.autograd.gradgradcheck(normalize, leaves)


def test_the_gradient_of_a_loss_alone():
    layer, images = nn.BatchNorm2d(3).double(), torch.rand(4, 3, 5, 5, dtype=torch.float64)
    nn.init.uniform_(layer.weight)
    expected, other = copy.deepcopy(layer), images.clone()
    for normalization, values in ((layer, images), (expected, other)):
        values.requires_grad_()
        with FastSecondDerivative(lambda normalization=normalization: normalization is layer):
            output = normalization(values)
        assert ("_Normalize" in type(output.grad_fn).__name__) == (normalization is layer)
        output.sin().sum().backward()
    torch.testing.assert_close(images.grad, other.grad)
    torch.testing.assert_close(layer.weight.grad, expected.weight.grad)
    torch.testing.assert_close(layer.bias.grad, expected.bias.grad)
    for buffer, reference in zip(layer.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(buffer, reference)


@pytest.mark.parametrize("frozen", ["input", "parameters"])
def test_what_is_frozen_gets_no_gradient(frozen):
    leaves = factors((3, 2, 4, 4))
    for each in leaves[:1] if frozen == "input" else leaves[1:]:
        each.requires_grad_(False)
    batch_norm(leaves[0], None, None, *leaves[1:], training=True).sin().sum().backward()
    assert [each.grad is None for each in leaves] == [each.requires_grad is False for each in leaves]


def test_its_own_statistics_are_left_to_torch():
    layer, images = nn.BatchNorm2d(3), torch.rand(4, 3, 5, 5)
    with FastSecondDerivative():
        assert "_Normalize" in type(layer(images).grad_fn).__name__
        assert "_Normalize" not in type(layer.eval()(images).grad_fn).__name__


def test_one_value_in_a_channel_is_refused_as_by_torch():
    with FastSecondDerivative(), pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        nn.BatchNorm2d(3)(torch.rand(1, 3, 1, 1))


def test_a_third_derivative_is_refused_as_by_torch():
    input, _, _ = factors((3, 2, 4, 4))
    for normalize in (batch_norm, F.batch_norm):
        values = normalize(input, None, None, training=True).sin().sum()
        for _ in range(2):
            (gradient,) = torch.autograd.grad(values, input, create_graph=True)
            values = gradient.square().sum()
        with pytest.raises(RuntimeError, match=r"once_differentiable|does not support 3rd"):
            values.backward()


def test_a_batch_of_inputs_is_refused():
    input = torch.rand(3, 2, 4, 4, requires_grad=True)
    statistics = torch.zeros(2), torch.ones(2)
    with pytest.raises(RuntimeError, match="only the gradients of one normalisation can be batched"):
        vmap(lambda each: _InputGradient.apply(input, each, None, *statistics, 1e-5))(torch.rand(2, 3, 2, 4, 4))


@pytest.mark.parametrize("mixed", [True, False])
def test_bfloat16(mixed):
    """Within what rounding to eight bits does, of float64."""
    leaves = factors((16, 2, 8, 8))
    leaves = [(each - 20 * (each.ndim == 4)).detach().requires_grad_() for each in leaves]
    expected = derivatives(F.batch_norm, leaves)
    low = [each.detach().to(torch.bfloat16 if each.ndim == 4 or not mixed else torch.float32) for each in leaves]
    found = derivatives(batch_norm, [each.requires_grad_() for each in low])
    assert [each.dtype for each in found[2]] == [each.dtype for each in low]
    for each, reference in zip([*found[:2], *found[2]], [*expected[:2], *expected[2]], strict=True):
        assert (each - reference).norm() < 0.05 * reference.norm()
