import copy

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F

from looksharp.attention.convolution import _Convolve, _ImageGradient, _Settings, _WeightGradient
from looksharp.attention.second_derivative import FastSecondDerivative

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
    settings = _Settings(stride, padding, dilation, groups, image.shape[1:], weight.shape, torch.contiguous_format)
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


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_gradients_lie_in_memory_as_the_images_do(memory_format):
    """Else the layers below them, which were run in one format, are differentiated in another, which is slow."""
    layer = nn.Conv2d(3, 3, 3, padding=1)
    images = torch.rand(2, 3, 5, 6).contiguous(memory_format=memory_format).requires_grad_()
    with FastSecondDerivative():
        output = layer(images)
    (gradient,) = torch.autograd.grad(output, images, torch.ones_like(output), create_graph=True)
    assert gradient.is_contiguous(memory_format=memory_format)
