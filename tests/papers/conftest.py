import loops
import numpy as np
import pytest
import torch
from torch import nn


class TwoLayers(nn.Module):
    """Two convolutions with ReLU, the second at half the size; the mean over positions; a linear layer."""

    def __init__(self, classes=4):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(4, 5, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(5, classes)

    def forward(self, images):
        return self.head(self.last(self.inner(images)).mean((2, 3)))


class ByLoop:
    """The same network as loops over numbers, with the gradient of a score at both layers."""

    def __init__(self, network):
        self.values = {name: value.detach().numpy() for name, value in network.state_dict().items()}

    def __call__(self, image):
        """The features of the inner and the last layer, and the scores."""
        values = self.values
        inner = loops.relu(loops.convolution(image, values["inner.0.weight"], values["inner.0.bias"]))
        last = loops.relu(loops.convolution(inner, values["last.0.weight"], values["last.0.bias"], stride=2))
        return inner, last, loops.linear(values["head.weight"], values["head.bias"], loops.means(last))

    def gradients(self, inner, last, label):
        """Of a class's score, with respect to both layers' features."""
        at_last = np.zeros_like(last)
        for channel in range(len(last)):
            at_last[channel] = self.values["head.weight"][label, channel] / last[channel].size
        passed = np.where(last > 0, at_last, 0.0)
        weight = self.values["last.0.weight"]
        return loops.gradient_of_convolution(passed, weight, inner.shape[1:], stride=2), at_last


@pytest.fixture
def network():
    torch.manual_seed(3)
    model = TwoLayers().double()
    with torch.no_grad():
        for layer in (model.inner[0], model.last[0]):
            layer.bias.uniform_(0, 0.3)  # few features are off, so that maps are not
        model.head.weight.mul_(4)  # classes with distinct probabilities
    return model


@pytest.fixture
def by_loop(network):
    return ByLoop(network)


@pytest.fixture
def images():
    return torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def randomized():
    """Give BatchNorm statistics that are not the default, and put a network into evaluation mode."""

    def change(model):
        generator = torch.Generator().manual_seed(7)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for values, low, high in (
                    (module.running_mean, -0.5, 0.5),
                    (module.running_var, 0.5, 2.0),
                    (module.weight.data, 0.5, 2.0),
                    (module.bias.data, 0.0, 0.5),
                ):
                    values.uniform_(low, high, generator=generator)
        return model.eval()

    return change
