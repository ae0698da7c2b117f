"""WARN Eq. 1 to 8: the library against loops written from the paper's text, for each reading."""

import copy

import loops
import numpy as np
import pytest
import torch

from looksharp.attention.recording import record
from looksharp.networks import AttendAndRectify
from looksharp.objectives import Classification, HeadDiversity

HEADS = 3
LABELS = [2, 0, 3]


def built(network, randomized, **options):
    torch.manual_seed(4)
    net = AttendAndRectify(
        copy.deepcopy(network), image_size=8, layers=["inner", "last"], heads=HEADS, **options
    ).double()
    return randomized(net), {name: value.detach().numpy() for name, value in net.state_dict().items()}


def outputs_of(values, by_loop, image, attention):
    """Of both modules and the network; the masks and head gates; and the classifier's input."""
    inner, last, scores = by_loop(image)
    outputs, masks, gates = [], [], []
    for place, features in enumerate((inner, last)):
        both = values[f"attention.{place}.hypothesis"]  # W_O of each head, W_g behind it
        found = loops.attention_module(
            features, values[f"attention.{place}.attend.weight"], both[:, :-1], both[:, -1], attention
        )
        for kept, value in zip((outputs, masks, gates), found, strict=True):
            kept.append(value)
    return [*outputs, scores], masks, gates, loops.means(last)


@pytest.mark.parametrize("attention", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    ("options", "mixing"),
    [
        ({}, "probability"),
        ({"mixing": "log_probability"}, "log_probability"),
        ({"mixing": "scores"}, "scores"),
        ({"preset": "official_code"}, "log_probability"),
        ({"preset": "official_code", "mixing": "probability"}, "probability"),
    ],
)
def test_network(network, randomized, by_loop, images, attention, options, mixing):
    net, values = built(network, randomized, attention=attention, **options)
    norm = None
    if options.get("preset") == "official_code":
        norm = [values[f"gate.norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    loss = 0.0
    shares = net(images).softmax(1).detach().numpy()
    for place, image in enumerate(images.numpy()):
        outputs, _, _, last = outputs_of(values, by_loop, image, attention)
        gates = loops.global_gates(values["gate.score.weight"], last, norm)
        expected = loops.mixed(gates, outputs, mixing)
        np.testing.assert_allclose(shares[place], expected, atol=1e-12)
        loss -= np.log(expected[LABELS[place]]) / len(images)
    step = Classification()(net, (images, torch.tensor(LABELS)))
    assert step.loss.item() == pytest.approx(loss, abs=1e-12)


@pytest.mark.parametrize("attention", ["softmax", "sigmoid"])
def test_masks_and_head_gates(network, randomized, by_loop, images, attention):
    """Eq. 1 and 5, as they are recorded by name."""
    net, values = built(network, randomized, attention=attention)
    with record(net, ("attention.0.mask", "attention.1.mask", "attention.0.gate", "attention.1.gate")) as features:
        net(images)
    for place, image in enumerate(images.numpy()):
        _, masks, gates, _ = outputs_of(values, by_loop, image, attention)
        for module in range(2):
            np.testing.assert_allclose(features[f"attention.{module}.mask"][place].detach(), masks[module], atol=1e-12)
            found = features[f"attention.{module}.gate"][place].flatten().detach()
            np.testing.assert_allclose(found, gates[module], atol=1e-12)


def test_scores_and_log_probabilities_are_one_reading(by_loop, network, randomized, images):
    """With cross-entropy: they differ by a constant over classes."""
    _, values = built(network, randomized)
    outputs, _, _, _ = outputs_of(values, by_loop, images[0].numpy(), "softmax")
    gates = [0.2, 0.5, 0.3]
    assert loops.mixed(gates, outputs, "scores") == pytest.approx(loops.mixed(gates, outputs, "log_probability"))
    assert loops.mixed(gates, outputs, "scores") != pytest.approx(loops.mixed(gates, outputs, "probability"))


@pytest.mark.parametrize("gate", ["average", "linear", "identity"])
def test_without_gates(network, randomized, by_loop, images, gate):
    """Sec. 4.3's ablations: all outputs alike; a projection of all of them; and the original network alone."""
    net, values = built(network, randomized, gate=gate)
    if gate == "linear":
        torch.nn.init.normal_(net.gate.weight)
    found = net(images).softmax(1).detach().numpy()
    for place, image in enumerate(images.numpy()):
        outputs, _, _, _ = outputs_of(values, by_loop, image, "softmax")
        expected = {
            "average": lambda outputs=outputs: loops.mixed([1 / 3] * 3, outputs, "probability"),
            "linear": lambda outputs=outputs: loops.softmax(
                loops.linear(
                    values["gate.weight"], values["gate.bias"], [each for output in outputs for each in output]
                )
            ),
            "identity": lambda outputs=outputs: loops.softmax(outputs[-1]),
        }[gate]()
        np.testing.assert_allclose(found[place], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "settings", "overlap"),
    [
        ({}, {}, "cosine"),
        ({}, {"overlap": "product"}, "product"),
        ({"preset": "official_code"}, {}, "product"),
        ({"attention": "sigmoid"}, {}, "cosine"),
    ],
)
def test_regulariser(network, randomized, by_loop, images, options, settings, overlap):
    """Sec. 3.2: a mean over images and modules."""
    net, values = built(network, randomized, **options)
    step = (Classification() + HeadDiversity(**settings))(net, (images, torch.tensor(LABELS)))
    found = []
    for image in images.numpy():
        _, masks, _, _ = outputs_of(values, by_loop, image, options.get("attention", "softmax"))
        found += [loops.head_overlap(each, overlap) for each in masks]
    assert step.terms["head_diversity"].item() == pytest.approx(sum(found) / len(found), abs=1e-12)
