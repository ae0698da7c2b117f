import copy

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

from looksharp.attention.attend import attention_maps
from looksharp.attention.recording import record
from looksharp.attention.second_derivative import (
    FastSecondDerivative,
    _Convolve,
    _ImageGradient,
    _Settings,
    _WeightGradient,
)

# inputs, outputs, and the arguments of torch.nn.Conv2d
LAYERS = {
    "plain": (2, 3, {"kernel_size": 3}),
    "pointwise": (2, 3, {"kernel_size": 1}),
    "stride": (2, 3, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "uneven stride": (2, 3, {"kernel_size": 2, "stride": (3, 2)}),
    "padding": (2, 3, {"kernel_size": 3, "padding": (2, 1)}),
    "dilation": (2, 3, {"kernel_size": 3, "dilation": 2, "padding": 1}),
    "uneven dilation": (2, 3, {"kernel_size": 2, "dilation": (1, 3), "stride": 2}),
    "kernel that is not square": (2, 3, {"kernel_size": (1, 4), "padding": (0, 2)}),
    "groups": (4, 6, {"kernel_size": 3, "groups": 2}),
    "depthwise": (3, 3, {"kernel_size": 3, "groups": 3, "padding": 1}),
    "no bias": (2, 3, {"kernel_size": 3, "stride": 2, "bias": False}),
    "same": (2, 3, {"kernel_size": 3, "padding": "same"}),
    "reflecting": (2, 3, {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=LAYERS)
def layer(request):
    inputs, outputs, arguments = LAYERS[request.param]
    return nn.Conv2d(inputs, outputs, **arguments, dtype=torch.float64)


def used(output):
    """Whether the functions under test made an output, with the bias added or without."""
    nodes = [output.grad_fn, *(node for node, _ in output.grad_fn.next_functions)]
    return any("_Convolve" in type(node).__name__ for node in nodes)


def through(layer, fast, images, batched):
    """An output, its gradient with respect to the images, and derivatives of a function of that gradient."""
    if fast:
        with FastSecondDerivative():
            output = layer(images)
    else:
        output = layer(images)
    assert used(output) == (fast and layer.padding != "same")
    scores = output.sin().flatten(1)  # (B, N)

    def first(chosen):
        return torch.autograd.grad(scores, images, chosen, create_graph=True)[0]

    chosen = torch.linspace(-1, 1, 3 * scores.numel(), dtype=torch.float64).view(3, *scores.shape)
    gradients = vmap(first)(chosen) if batched else torch.stack([first(c) for c in chosen])
    second = torch.autograd.grad(gradients.square().sum(), [images, *layer.parameters()], allow_unused=True)
    return output, gradients, [value for value in second if value is not None]


@pytest.mark.parametrize("batched", [True, False])
def test_equals_torch_to_the_second_derivative(layer, batched):
    images = torch.rand(2, layer.in_channels, 7, 6, dtype=torch.float64, requires_grad=True)
    ours, torchs = (through(layer, fast, images, batched) for fast in (True, False))
    assert len(ours[2]) == 2 + (layer.bias is not None)
    torch.testing.assert_close(ours, torchs)


def test_backward_equals_torch(layer):
    images = torch.rand(2, layer.in_channels, 7, 6, dtype=torch.float64)
    expected, other = copy.deepcopy(layer), images.clone()
    for convolution, values in ((layer, images), (expected, other)):
        values.requires_grad_()
        with FastSecondDerivative(lambda convolution=convolution: convolution is layer):
            output = convolution(values)
        output.sin().sum().backward()
    torch.testing.assert_close(images.grad, other.grad)
    for parameter, reference in zip(layer.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad)


@pytest.mark.parametrize("frozen", ["image", "weight"])
def test_one_factor_without_gradient(frozen):
    layer = nn.Conv2d(2, 3, 3, dtype=torch.float64)
    images = torch.rand(2, 2, 5, 5, dtype=torch.float64)
    (layer if frozen == "weight" else images).requires_grad_(False)
    (images if frozen == "weight" else layer).requires_grad_()
    with FastSecondDerivative():
        layer(images).sin().sum().backward()
    assert (images.grad is None) == (frozen == "image")
    assert (layer.weight.grad is None) == (frozen == "weight")
    values, expected = layer(images).sin().sum(), images if frozen == "weight" else layer.weight
    torch.testing.assert_close(expected.grad, torch.autograd.grad(values, expected)[0])


def factors(stride, padding, dilation, groups):
    """The settings of a small convolution, and its image, weight and gradient."""
    image = torch.rand(2, 2 * groups, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(2 * groups, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    settings = _Settings(stride, padding, dilation, groups, image.shape[1:], weight.shape)
    output = F.conv2d(image, weight, None, stride, padding, dilation, groups)
    return settings, image, weight, torch.rand_like(output).requires_grad_()


@pytest.mark.parametrize(
    "arguments",
    [((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 1), (1, 1), 1), ((1, 2), (1, 2), (2, 1), 2)],
    ids=["plain", "strided", "all of it"],
)
def test_derivatives_of_the_three_functions(arguments):
    settings, image, weight, grad = factors(*arguments)
    for function, first, second in (
        (_Convolve, image, weight),
        (_ImageGradient, grad, weight),
        (_WeightGradient, grad, image),
    ):

        def apply(first, second, function=function):
            return function.apply(first, second, settings)

        assert torch.autograd.gradcheck(apply, (first, second))
        assert torch.autograd.gradgradcheck(apply, (first, second))


def test_the_three_functions_equal_torchs():
    settings, image, weight, grad = factors((2, 1), (1, 0), (1, 1), 2)
    output = F.conv2d(image, weight, None, *settings[:4])
    to_image, to_weight = torch.autograd.grad(output, (image, weight), grad)
    torch.testing.assert_close(_Convolve.apply(image, weight, settings), output)
    torch.testing.assert_close(_ImageGradient.apply(grad, weight, settings), to_image)
    torch.testing.assert_close(_WeightGradient.apply(grad, image, settings), to_weight)


def test_a_batch_of_weights_is_refused():
    settings, image, weight, _ = factors((1, 1), (0, 0), (1, 1), 1)
    with pytest.raises(RuntimeError, match="a batch of weights cannot be folded into one convolution"):
        vmap(lambda w: _Convolve.apply(image, w, settings))(torch.stack([weight, weight]))


def test_left_alone_where_not_active():
    layer, images = nn.Conv2d(2, 3, 3), torch.rand(2, 2, 5, 5)
    active = True
    with FastSecondDerivative(lambda: active):
        assert used(layer(images))
        active = False
        assert not used(layer(images))
        active = True
        with torch.no_grad():
            assert layer(images).grad_fn is None
        assert not used(F.conv2d(input=images, weight=layer.weight))
        assert not used(layer(images[0]))  # without a batch
    assert not used(layer(images))


@pytest.mark.parametrize("function", [F.conv2d, torch.conv2d])
def test_functions_that_are_seen(function):
    weight = torch.rand(3, 2, 3, 3, requires_grad=True)
    images = torch.rand(2, 2, 5, 5)
    with FastSecondDerivative():
        output = function(images, weight, None, 2, 1)
    assert used(output)
    torch.testing.assert_close(output, function(images, weight, None, 2, 1))


def test_bfloat16_autocast():
    layer, images = nn.Conv2d(2, 3, 3), torch.rand(2, 2, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(images)
        with FastSecondDerivative():
            output = layer(images)
    assert output.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected, rtol=0.02, atol=0.02)
    output.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


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
