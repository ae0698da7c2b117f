import copy
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from looksharp.metrics.sanity import ParameterRandomization, parameter_randomization, randomized
from looksharp.networks import CifarResNet


class Small(nn.Module):
    """Two convolutions and a linear classifier, with normalisation and a parameter of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.shift = nn.Parameter(torch.randn(3, 1, 1))
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, 2, padding=1), nn.ReLU())
        self.head = nn.Linear(8, 5)
        nn.init.uniform_(self.first[1].weight, 0.5, 1)

    def forward(self, images):
        return self.head(self.second(self.first(images + self.shift)).mean((-2, -1)))


NAMES = ("head", "second.0", "first.1", "first.0", "")


def samples(count=6, size=16):
    torch.manual_seed(0)
    images, classes = torch.randn(count, 3, size, size), torch.randint(0, 5, (count,))
    images[:, 0, 0, 0] = torch.arange(count)  # tells which one it is
    return images, classes


def learned(model):
    return {name: values.clone() for name, values in model.state_dict().items()}


def changed(model, before):
    return {name for name, values in model.state_dict().items() if not values.equal(before[name])}


def test_cascading_reaches_all_layers_from_the_last_downwards():
    model = Small()
    before, seen, found = learned(model), [], []
    for name, network in randomized(model):
        seen.append(name)
        found.append(changed(network, before))
    assert tuple(seen) == NAMES
    head = {"head.weight", "head.bias"}
    second = head | {"second.0.weight", "second.0.bias"}
    # A normalisation's bias, which is zero throughout, and its statistics stay.
    norm = second | {"first.1.weight"}
    assert found == [head, second, norm, norm | {"first.0.weight"}, norm | {"first.0.weight", "shift"}]


def test_independent_changes_one_layer_at_a_time():
    model = Small()
    before = learned(model)
    found = {name: changed(network, before) for name, network in randomized(model, order="independent")}
    assert tuple(found) == NAMES
    assert found["head"] == {"head.weight", "head.bias"}
    assert found["first.1"] == {"first.1.weight"}
    assert found[""] == {"shift"}
    assert found["first.0"] == {"first.0.weight"}


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_named_layers_change_with_all_that_is_in_them(order):
    model = Small()
    before = learned(model)
    found = [(name, changed(network, before)) for name, network in randomized(model, ["first", "head"], order=order)]
    first, head = {"first.0.weight", "first.1.weight"}, {"head.weight", "head.bias"}
    assert found == [("first", first), ("head", head | first if order == "cascading" else head)]


def test_parameters_keep_their_mean_and_spread_and_nothing_else():
    model = nn.Sequential(nn.Linear(300, 200))
    values = model[0].weight.data.exponential_() + 5  # skewed
    model[0].weight.data = values
    ((_, network),) = randomized(model, seed=1)
    drawn = network[0].weight.detach()
    count = values.numel()
    assert drawn.mean().item() == pytest.approx(values.mean().item(), abs=4 / count**0.5)
    assert drawn.std().item() == pytest.approx(values.std().item(), rel=0.02)
    assert abs(np.corrcoef(drawn.flatten(), values.flatten())[0, 1]) < 4 / count**0.5
    assert abs(((drawn - drawn.mean()) / drawn.std()).pow(3).mean().item()) < 4 * (6 / count) ** 0.5  # normal: no skew


def test_it_is_seeded_and_leaves_the_model_and_the_random_state():
    model, (images, classes) = Small().train(), samples()
    before, random = learned(model), torch.get_rng_state()
    found = parameter_randomization(model, images, classes, seed=4)
    assert torch.get_rng_state().equal(random)
    assert changed(model, before) == set()  # no statistics either
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    again = parameter_randomization(model, images, classes, seed=4)
    torch.testing.assert_close(again.rank, found.rank, rtol=0, atol=0, equal_nan=True)
    other = parameter_randomization(model, images, classes, seed=5)
    assert not torch.allclose(other.ssim, found.ssim, equal_nan=True)


def structural(first, second):
    """Wang et al. 2004 with scipy's filter: sigma 1.5 over 11 pixels, mirrored at the border."""
    blur = partial(gaussian_filter, sigma=1.5, truncate=5 / 1.5, mode="mirror")

    a, b = first.double().numpy(), second.double().numpy()
    means = blur(a), blur(b)
    spreads = blur(a * a) - means[0] ** 2, blur(b * b) - means[1] ** 2
    shared = blur(a * b) - means[0] * means[1]
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * means[0] * means[1] + c1) * (2 * shared + c2)
    return (found / ((means[0] ** 2 + means[1] ** 2 + c1) * (spreads[0] + spreads[1] + c2))).mean()


def squares(model, images, classes):
    """A map that depends on the first convolution alone."""
    with torch.no_grad():
        return model.first[0](images).square().mean(1)[:, ::2, ::2]


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_similarities_are_scipys(order):
    model, (images, classes) = Small().eval(), samples(size=20)
    found = parameter_randomization(model, images, classes, squares, order=order)
    assert found.layers == NAMES

    def large(network):
        maps = F.interpolate(squares(network, images, classes)[:, None].double(), (20, 20), mode="bilinear")[:, 0]
        return maps / maps.amax((-2, -1), keepdim=True)

    before = large(model)
    assert found.rank.shape == found.ssim.shape == (6, 5)
    for layer, (_, network) in enumerate(randomized(model, order=order)):
        after = large(network)
        for sample in range(6):
            rank = spearmanr(before[sample].flatten(), after[sample].flatten())[0]
            assert found.rank[sample, layer].item() == pytest.approx(rank, abs=1e-4)
            ssim = structural(before[sample], after[sample])
            assert found.ssim[sample, layer].item() == pytest.approx(ssim, abs=1e-4)
    # This map sees nothing but the first convolution, which comes fourth.
    same = [0, 1, 2] if order == "cascading" else [0, 1, 2, 4]
    torch.testing.assert_close(found.rank[:, same], torch.ones(6, len(same)))
    torch.testing.assert_close(found.ssim[:, same], torch.ones(6, len(same)))
    assert found.rank[:, 3].max() < 0.999


def test_a_map_that_does_not_look_at_the_network_fails_the_check():
    def edges(model, images, classes):
        return (images - images.roll(1, -1)).abs().mean(1)

    model, (images, classes) = Small().eval(), samples()
    found = parameter_randomization(model, images, classes, edges)
    torch.testing.assert_close(found.rank, torch.ones(6, 5))
    grad_cam = parameter_randomization(model, images, classes)
    assert grad_cam.rank.nan_to_num().mean() < 0.7


def test_grad_cam_of_a_residual_network():
    model, (images, classes) = CifarResNet(8, 5).eval(), samples(3, 32)
    found = parameter_randomization(model, images, classes, layers=["fc", "layer3", "layer2"])
    assert found.layers == ("fc", "layer3", "layer2")
    assert found.undefined.equal(torch.stack([found.rank.isnan().sum(0), found.ssim.isnan().sum(0)]))
    defined = found.ssim[~found.ssim.isnan()]
    assert len(defined)
    assert defined.abs().max() <= 1


def vanishing(model, images, classes):
    """Zero for the first image, the same everywhere for the second, and zero for the third once it is randomised."""
    maps, place = squares(model, images, classes), images[:, 0, 0, 0]
    maps[place == 0], maps[place == 1] = 0, 0.4
    if not model.head.weight.equal(model.untouched):
        maps[place == 2] = 0
    return maps


def test_maps_that_say_nothing_are_nan_and_counted():
    model, (images, classes) = Small().eval(), samples()
    model.register_buffer("untouched", model.head.weight.detach().clone())
    found = parameter_randomization(model, images, classes, vanishing, layers=["head", "second"])
    assert found.rank.isnan().tolist() == [[True] * 2] * 3 + [[False] * 2] * 3
    assert found.ssim.isnan().tolist() == [[True] * 2, [False] * 2, [True] * 2] + [[False] * 2] * 3
    assert found.undefined.tolist() == [[3, 3], [2, 2]]


def fill(metric, order, size):
    images, classes = samples()
    for chosen in torch.as_tensor(order).split(size):
        metric.update(images[chosen], classes[chosen])
    return metric


def same(first, second):
    assert first.layers == second.layers
    torch.testing.assert_close(first[1:], second[1:], equal_nan=True, rtol=1e-5, atol=1e-6)


def test_means_over_batches_in_any_order_and_any_number_of_processes():
    model = Small().eval()
    model.register_buffer("untouched", model.head.weight.detach().clone())

    def build(**options):
        return ParameterRandomization(model, vanishing, "independent", ["head", "second", "first"], seed=2, **options)

    images, classes = samples()
    values = parameter_randomization(
        model, images, classes, vanishing, order="independent", layers=["head", "second", "first"], seed=2
    )
    whole = fill(build(), range(6), 6).compute()
    assert whole.layers == ("head", "second", "first")
    torch.testing.assert_close(whole.rank, values.rank.double().nanmean(0))
    torch.testing.assert_close(whole.ssim, values.ssim.double().nanmean(0))
    assert whole.undefined.tolist() == values.undefined.tolist() == [[3, 2, 2], [2, 1, 1]]
    same(fill(build(), torch.randperm(6), 2).compute(), whole)
    others = [fill(build(), range(1, 6), 3), build()]  # one process got no samples

    def gather(state, group=None):
        (name,) = [name for name in metric._defaults if getattr(metric, name) is state]
        return [state, *(getattr(other, name) for other in others)]

    metric = build(dist_sync_fn=gather, distributed_available_fn=lambda: True)
    same(fill(metric, range(1), 1).compute(), whole)
    assert build().total.isnan().sum() == 0
    assert not list(metric.modules())[1:]  # the model is no part of it
    same(copy.deepcopy(fill(build(), range(6), 4)).compute(), whole)


def test_messages():
    model, (images, classes) = Small().eval(), samples()
    with pytest.raises(ValueError, match="layers must be names of modules with parameters; 'tail' is not in the model"):
        parameter_randomization(model, images, classes, layers=["head", "tail"])
    with pytest.raises(ValueError, match=r"layers must be names of .*; 'second.1' has no parameters"):
        ParameterRandomization(model, layers=["second.1"])
    with pytest.raises(ValueError, match="layers must be names of modules with parameters; got none"):
        ParameterRandomization(nn.ReLU())
    with pytest.raises(ValueError, match="order must be 'cascading' or 'independent'; got 'random'"):
        parameter_randomization(model, images, classes, order="random")
    with pytest.raises(ValueError, match=r"images must be 11 pixels wide and high at least, .*; got \(10, 16\)"):
        parameter_randomization(model, images[:, :, :10], classes)
