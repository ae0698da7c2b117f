"""Every registered architecture keeps these promises."""

import copy

import pytest
import torch

from looksharp.attention.attend import attend
from looksharp.networks import ARCHITECTURES, Attending, build_classifier, built_in_attention, head_parameters
from looksharp.networks.architecture import BUILT_WITH
from looksharp.networks.built_in import has_built_in_attention
from looksharp.objectives import PARTS, Classification, Sum
from looksharp.settings import SettingError, checked_arguments, settings_of

TARGETS = {"single-label": torch.tensor([2, 0]), "multi-label": torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0]])}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=ARCHITECTURES)
def name(request):
    return request.param


def build(name, **others):
    return build_classifier("cifar_resnet8", 4, image_size=(32, 32), architecture=name, **others)


def test_it_classifies_images_of_any_size(name):
    network = build(name).eval()
    assert isinstance(network, ARCHITECTURES[name])
    assert network(torch.rand(2, 3, 40, 36)).shape == (2, 4)


def test_its_signature_is_its_settings(name):
    defaults = {key: s.default for key, s in settings_of(ARCHITECTURES[name], BUILT_WITH).items()}
    assert "backbone" in settings_of(ARCHITECTURES[name])
    build(name, options=checked_arguments(ARCHITECTURES[name], defaults, name, BUILT_WITH))
    with pytest.raises(SettingError, match=f"'{name}.nonsense' is not a setting"):
        build(name, options={"nonsense": 1})


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_it_trains_with_the_loss_parts_it_brings(name, targets):
    network = build(name, multilabel=targets.ndim == 2).train()
    objective = Sum(Classification(), *(PARTS[part]() for part in ARCHITECTURES[name].loss_parts))
    images, before = torch.rand(2, 3, 32, 32), copy.deepcopy(dict(network.named_parameters()))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):  # a layer that begins at zero lets a gradient through after one step
        optimizer.zero_grad()
        objective(network, (images, targets)).loss.backward()
        optimizer.step()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.isfinite().all(), parameter_name
        assert not torch.equal(parameter, before[parameter_name]), parameter_name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("part", ["classification", "icasc", "gain"])
def test_it_trains_in_half_precision(name, part, dtype):
    """Without autocast: terms are those of the same weights in single precision, but for the rounding on the way."""
    network = build(name).eval().to(dtype)  # by running statistics: those of two images round far apart
    objective = Sum(PARTS[part](), *(PARTS[brought]() for brought in ARCHITECTURES[name].loss_parts))
    images, targets = torch.rand(2, 3, 32, 32).to(dtype), TARGETS["single-label"]
    expected = objective(copy.deepcopy(network).float(), (images.float(), targets))
    step = objective(network, (images, targets))
    assert step.loss.dtype == torch.float32
    torch.testing.assert_close(step.terms, expected.terms, rtol=0.05, atol=0.01)
    step.loss.backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_its_maps_in_half_precision(name, dtype):
    network, images = build(name).eval().to(dtype), torch.rand(2, 3, 32, 32).to(dtype)
    precise, classes = copy.deepcopy(network).float(), torch.tensor([[0, 1], [2, 3]])
    (maps,), (expected,) = (
        attend(model, given.to(model_dtype), classes).maps.values()
        for model, given, model_dtype in ((network, images, dtype), (precise, images, torch.float32))
    )
    torch.testing.assert_close(maps, expected, rtol=0.1, atol=0.03 * float(expected.max()))
    if isinstance(network, Attending):
        found, own = built_in_attention(network, images), built_in_attention(precise, images.float())
        for place, values in own.maps.items():
            torch.testing.assert_close(found.maps[place].float(), values, rtol=0.05, atol=0.01)


def test_what_it_adds_learns_with_the_classifier(name):
    network = build(name)
    head, own = ({id(p) for p in each} for each in (head_parameters(network), network.parameters()))
    added = {id(p) for p in network.added_parameters()}
    assert added < head < own
    assert len(head_parameters(network)) == len(head)


def test_it_reads_back_from_its_state(name):
    network, other = build(name).eval(), build(name).eval()
    other.load_state_dict(network.state_dict())
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(other(images), network(images))


@pytest.mark.parametrize("training", [True, False])
def test_a_copy_is_in_the_same_mode(name, training):
    network, images = build(name).train(training), torch.rand(2, 3, 32, 32)
    other = copy.deepcopy(network)
    modes = {path: module.training for path, module in network.named_modules()}
    assert {path: module.training for path, module in other.named_modules()} == modes
    for mode in (training, not training, training):
        torch.testing.assert_close(other.train(mode)(images), network.train(mode)(images))


def test_its_own_maps(name):
    network, images = build(name).eval(), torch.rand(2, 3, 32, 32)
    assert has_built_in_attention(network) == isinstance(network, Attending)
    if not isinstance(network, Attending):
        return
    found = built_in_attention(network, images)
    torch.testing.assert_close(found.logits, network(images).detach())
    backbone = dict(network.backbone.named_modules())
    for place, maps in found.maps.items():
        assert place in backbone
        assert (maps.ndim, len(maps)) == (4, 2)
        assert not maps.requires_grad
    for place, shares in found.shares.items():
        assert shares.shape == found.maps[place].shape[:2]
        assert (shares >= 0).all()
        assert (shares <= 1).all()
