"""The convolution behind which gradients by images are summed, against autograd's own gradients."""

import pytest
import torch
from torch import nn

from looksharp.attention.first_convolution import FirstConvolution, first_convolution
from looksharp.attention.input_gradients import copies_gradients, input_gradients

CLASSES = torch.tensor([[2, 0], [1, 3], [4, 4], [0, 1], [3, 2]])
SHARES = torch.tensor([[0.5, 0.0, -1.0, 2.0, 0.0], [0.0, 1.0, 0.0, 0.25, 3.0]], dtype=torch.float64)


class Behind(nn.Module):
    """A network behind what reads the images."""

    def __init__(self, first, again=None):
        super().__init__()
        self.first, self.again = first, again
        self.head = nn.LazyLinear(5)

    def forward(self, images):
        maps = self.first(images).tanh()
        score = self.head((maps * maps).mean((2, 3)))
        return score if self.again is None else score + self.again(images)


class Sums(nn.Module):
    def forward(self, images):
        return images.square().mean((1, 2, 3)).unsqueeze(1)


CONVOLUTIONS = {
    "strided": lambda: nn.Conv2d(3, 4, 5, stride=3, padding=1),
    "dilated, without bias": lambda: nn.Conv2d(3, 4, 3, dilation=2, bias=False),
    "by groups": lambda: nn.Conv2d(3, 6, (3, 2), stride=(2, 1), groups=3),
    "patches": lambda: nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4)),
}
OTHERS = {
    "padded by itself": lambda: Behind(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")),
    "transposed": lambda: Behind(nn.ConvTranspose2d(3, 4, 3)),
    "read twice": lambda: Behind(nn.Conv2d(3, 4, 3), Sums()),
    "scaled before": lambda: nn.Sequential(nn.InstanceNorm2d(3), Behind(nn.Conv2d(3, 4, 3))),
    "no convolution": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 13 * 11, 5)),
}


def made(build, images):
    torch.manual_seed(0)
    model = build()
    model = model if isinstance(model, Behind | nn.Sequential) and build in OTHERS.values() else Behind(model)
    model.double()(images)
    return model.eval()


@pytest.fixture
def images():
    return torch.randn(5, 3, 13, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def found_in(model, images):
    entry = images.clone().requires_grad_()
    return first_convolution(model(entry), entry)


@pytest.mark.parametrize("case", [*CONVOLUTIONS, *OTHERS])
def test_sums_of_gradients_are_sums_of_each_images_own(case, images, monkeypatch):
    model = made((CONVOLUTIONS | OTHERS)[case], images)
    assert (found_in(model, images) is not None) == (case in CONVOLUTIONS)
    went_back = []
    back = FirstConvolution.back
    monkeypatch.setattr(FirstConvolution, "back", lambda self, sums: went_back.append(len(sums)) or back(self, sums))
    found = input_gradients(model, images, CLASSES, SHARES)
    assert went_back == ([2, 2] if case in CONVOLUTIONS else [])  # two sums, for each of two classes
    entry = images.clone().requires_grad_()
    logits = model(entry)
    for k in range(2):
        each = torch.autograd.grad(logits.gather(1, CLASSES[:, k : k + 1]).sum(), entry, retain_graph=True)[0]
        expected = torch.einsum("gn,nchw->gchw", SHARES, each)
        assert expected.abs().max() > 0
        torch.testing.assert_close(found[:, k], expected, rtol=1e-9, atol=1e-12)


def test_in_half_precision_the_sum_is_taken_in_single(images):
    model = made(CONVOLUTIONS["strided"], images).float()
    exact = input_gradients(model, images.float(), CLASSES, SHARES)
    with torch.autocast("cpu", torch.bfloat16):
        found = input_gradients(model, images.float(), CLASSES, SHARES)
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 0.02 * exact.norm()


def test_frozen_parameters_change_nothing(images):
    model = made(CONVOLUTIONS["strided"], images)
    expected = input_gradients(model, images, CLASSES, SHARES)
    torch.testing.assert_close(input_gradients(model.requires_grad_(False), images, CLASSES, SHARES), expected)


@pytest.mark.parametrize("at_once", [1, 4, 6, 100])
def test_copies_of_images_by_a_loop(at_once, images, monkeypatch):
    monkeypatch.setattr("looksharp.attention.rerun._PIXELS", {"cpu": at_once * 13 * 11})
    model, shares = made(CONVOLUTIONS["strided"], images), torch.tensor([0.5, -1.0], dtype=torch.float64)
    sizes = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    factors = torch.tensor([0.3, 0.9], dtype=torch.float64).view(2, 1, 1, 1)
    found = copies_gradients(model, images, CLASSES, lambda places: images[places].unsqueeze(1) * factors, shares)
    assert sizes == {1: [2] * 5, 4: [4, 4, 2], 6: [6, 4], 100: [10]}[at_once]
    for b, k in [(0, 0), (3, 1), (4, 0)]:
        total = torch.zeros_like(images[0])
        for factor, share in zip(factors.flatten(), shares, strict=True):
            copy = (images[b] * factor).requires_grad_()
            total += share * torch.autograd.grad(model(copy[None])[0, CLASSES[b, k]], copy)[0]
        torch.testing.assert_close(found[b, k], total, rtol=1e-9, atol=1e-12)
