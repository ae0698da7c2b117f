"""ICASC Eq. 1 to 6: the library against loops written from the paper's text, for each reading."""

import loops
import numpy as np
import pytest
import torch

from looksharp.objectives import ICASC

SINGLE = torch.tensor([2, 0, 3])
SEVERAL = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 1]])
MAPS = {"grad_cam": loops.average_weighted, "channel_weighted": loops.channel_weighted}


def true_labels(targets):
    if targets.ndim == 1:
        return [[int(label)] for label in targets]
    return [[label for label, value in enumerate(row) if value > 0] for row in targets.tolist()]


def terms_of_image(by_loop, image, labels, mechanism, normalize, numbers):
    inner, last, scores = by_loop(image)

    def maps(label):
        at_inner, at_last = by_loop.gradients(inner, last, label)
        return MAPS[mechanism](inner, at_inner), MAPS[mechanism](last, at_last)

    confusing, found = maps(loops.most_confusing(scores, labels)), []
    for label in labels:
        true = maps(label)
        found.append(loops.icasc((true[0], confusing[0]), (true[1], confusing[1]), normalize, **numbers))
    return {name: sum(each[name] for each in found) / len(found) for name in found[0]}, scores


@pytest.mark.parametrize("targets", [SINGLE, SEVERAL], ids=["single-label", "multi-label"])
@pytest.mark.parametrize("mechanism", MAPS)
@pytest.mark.parametrize(
    ("options", "normalize"),
    [
        ({"preset": "paper"}, "each"),
        ({"preset": "literal"}, "none"),
        ({"preset": "paper", "normalize": "mask"}, "mask"),
        ({"preset": "paper", "normalize": "none", "omega": 20.0, "sigma": 0.3, "theta": 0.5}, "none"),
    ],
)
def test_terms(network, by_loop, images, targets, mechanism, options, normalize):
    numbers = {name: value for name, value in options.items() if name in ("omega", "sigma", "theta")}
    step = ICASC(mechanism, layers=("inner", "last"), **options)(network, (images, targets))
    expected = {name: 0.0 for name in ("classification", "separation_inner", "separation_last", "consistency")}
    for image, labels in zip(images.numpy(), true_labels(targets), strict=True):
        terms, scores = terms_of_image(by_loop, image, labels, mechanism, normalize, numbers)
        single = targets.ndim == 1
        terms["classification"] = loops.cross_entropy(scores, *labels) if single else loops.soft_margin(scores, labels)
        for name, value in terms.items():
            expected[name] += value / len(images)
    assert {name: value.item() for name, value in step.terms.items()} == pytest.approx(expected, abs=1e-12)
    assert step.loss.item() == pytest.approx(sum(expected.values()), abs=1e-12)  # Eq. 6
    assert expected["separation_inner"] > 0.01  # maps overlap, so that the comparison is of something


def test_a_confusing_map_a_thousand_times_weaker(images):
    """Eq. 3 as it is written falls with the map; divided by its own maximum it stays."""
    generator = np.random.default_rng(0)
    true, confusing = generator.random((5, 5)), generator.random((5, 5))
    values = {
        (normalize, factor): loops.icasc((true, factor * confusing), (true, factor * confusing), normalize)
        for normalize in ("none", "mask", "each")
        for factor in (1.0, 0.001)
    }
    for normalize in ("none", "mask"):
        weak, strong = (values[normalize, factor]["separation_last"] for factor in (0.001, 1.0))
        assert weak < 0.005 * strong
    assert values["each", 0.001]["separation_last"] == pytest.approx(values["each", 1.0]["separation_last"])
