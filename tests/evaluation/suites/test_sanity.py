"""The suite "sanity" against a plain loop, and against maps that do not depend on the network."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from looksharp import attend
from looksharp.data.split import Pixels
from looksharp.evaluation import evaluate
from looksharp.metrics.agreement import rank_agreement
from looksharp.metrics.sanity import parameter_randomization, randomized
from looksharp.metrics.scores import at_resolution


def test_similarities_are_those_of_a_plain_loop(model, split, data):
    few = split.taken(range(6))
    found = evaluate(model, few, data.pixels, suites=["sanity"], batch_size=6)
    images = data.pixels.normalize(few.images)
    with torch.no_grad():
        classes = model(images).argmax(1)

    def maps_of(network):
        (maps,) = attend(network, images, classes).maps.values()
        return at_resolution(maps[:, 0], data.pixels.size)

    learned = maps_of(model)
    names, ranks = [], []
    for name, forgetful in randomized(model):
        names.append(name)
        ranks.append(rank_agreement(learned, maps_of(forgetful)))
    table = found.tables["sanity"]
    assert table["layer"][-1] == names[-1]
    assert len(table["layer"]) == 5
    for place, layer in enumerate(table["layer"]):
        expected = ranks[names.index(layer)]
        assert table["rank_undefined"][place] == int(expected.isnan().sum())
        if table["rank"][place] is not None:
            assert table["rank"][place] == pytest.approx(float(expected.double().nanmean()), abs=1e-5)
    assert torch.allclose(found.per_image["randomised_rank"], ranks[-1].float(), atol=1e-5, equal_nan=True)


def test_a_map_that_does_not_read_the_network_fails(model, split, data):
    def middle(features, gradients):
        return torch.linspace(0, 1, features.shape[-1]).expand(len(features), gradients.shape[1], *features.shape[-2:])

    found = evaluate(model, split.taken(range(4)), data.pixels, suites=["sanity"], mechanism=middle)
    assert found.values == pytest.approx({"randomised_rank": 1.0, "randomised_ssim": 1.0}, abs=1e-5)
    assert found.tables["sanity"]["rank_undefined"] == [0] * 5


def test_steps_are_some_of_all_layers(model, split, data):
    before = deepcopy(model.state_dict())
    images, classes = data.pixels.normalize(split.images[:3]), split.targets[:3]
    whole = parameter_randomization(model, images, classes)
    some = parameter_randomization(model, images, classes, steps=2)
    count = len(whole.layers)
    places = [round(count / 2) - 1, count - 1]
    assert some.layers == tuple(whole.layers[place] for place in places)
    assert torch.equal(some.rank.nan_to_num(-2), whole.rank[:, places].nan_to_num(-2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for steps in (0, count + 1):
        with pytest.raises(ValueError, match=rf"steps must be 1 to the number of layers, {count}; got {steps}"):
            parameter_randomization(model, images, classes, steps=steps)


def test_images_too_small_to_compare(model, split):
    small = replace(split, images=split.images[:, :, :8, :8], marks=None)
    found = evaluate(model, small, Pixels((8, 8)), suites=["sanity"])
    assert found.values == found.per_image == found.tables == {}
