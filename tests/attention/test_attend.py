import copy

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from looksharp.attention.attend import attend, attention_maps
from looksharp.attention.mechanisms import TRAINABLE, find_trainable
from looksharp.attention.mechanisms.channel_weighted import channel_weighted
from looksharp.attention.mechanisms.grad_cam import grad_cam
from looksharp.attention.recording import record

LAYERS = ("inner", "last")
CLASSES = torch.tensor([[0, 1, 4], [3, 2, 0]])


class Net(nn.Module):
    """Two smooth stages and a pooled linear head: no kinks for numerical derivatives to stumble over."""

    def __init__(self, width=4, activation=nn.Softplus):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.inner = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), activation())
        self.last = nn.Sequential(nn.Conv2d(width, width + 1, 3, 2, 1), activation())
        self.fc = nn.Linear(width + 1, 5)

    def forward(self, images):
        features = self.last(self.inner(self.stem(images)))
        return self.fc(features.mean((2, 3)))


class Wrapped(nn.Module):
    """The same logits, but no longer the linear layer's very output, so that nothing has a closed form."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images) * 1.0


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def images():
    return torch.rand(2, 3, 6, 6, dtype=torch.float64)


@pytest.fixture
def net():
    return Net().double()


def maps_of(model, images, classes=CLASSES, mechanism="grad_cam", layers=LAYERS, **options):
    with record(model, layers) as features:
        output = model(images)
    return attention_maps(output, features, classes, mechanism, **options)


def by_loop(model, images, classes, mechanism, layer):
    """Maps before their ReLU, one image and one class at a time, with a hook and a backward of their own."""
    maps = []
    for image, chosen in zip(images, classes, strict=True):
        for c in chosen:
            kept = []
            hook = model.get_submodule(layer).register_forward_hook(
                lambda _m, _a, output, kept=kept: kept.append(output)
            )
            logits = model(image[None])
            hook.remove()
            score = logits[0, c]
            if hasattr(mechanism, "cotangents"):  # it differentiates a combination of logits
                score = (mechanism.cotangents(logits.detach(), c.view(1, 1)) * logits).sum()
            (gradient,) = torch.autograd.grad(score, kept[0])
            maps.append(mechanism(kept[0], gradient[:, None])[0, 0].detach())
    return torch.stack(maps).unflatten(0, classes.shape)


@pytest.mark.parametrize("mechanism", sorted(set(TRAINABLE) - {"cam"}))
def test_equals_a_loop_over_images_and_classes(net, images, mechanism):
    maps = maps_of(net, images, mechanism=mechanism)
    assert list(maps) == list(LAYERS)
    for layer in LAYERS:
        expected = by_loop(net, images, CLASSES, find_trainable(mechanism), layer)
        torch.testing.assert_close(maps[layer], expected.relu())
        assert not maps[layer].requires_grad


def test_grad_cam_by_hand(images):
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(2 * 36, 5)).double()
    maps = maps_of(net, images, torch.tensor([1, 4]), layers=["0"], signed=True)["0"]
    features = net[0](images)
    for place, c in enumerate((1, 4)):
        weights = net[2].weight[c].view(2, 36).mean(1)
        torch.testing.assert_close(maps[place, 0], (weights[:, None, None] * features[place]).sum(0).detach())


@pytest.mark.parametrize("create_graph", [True, False])
@pytest.mark.parametrize("mechanism", sorted(set(TRAINABLE) - {"cam"}))
def test_closed_form_equals_autograd(net, images, mechanism, create_graph):
    other = copy.deepcopy(net)
    closed = maps_of(net, images, mechanism=mechanism, create_graph=create_graph)
    wrapped = maps_of(
        Wrapped(other), images, mechanism=mechanism, create_graph=create_graph, layers=["net.inner", "net.last"]
    )
    for layer in LAYERS:
        torch.testing.assert_close(closed[layer], wrapped[f"net.{layer}"])
    if create_graph:
        for maps in (closed, wrapped):
            sum(values.square().sum() for values in maps.values()).backward()
        for parameter, expected in zip(net.parameters(), other.parameters(), strict=True):
            if expected.grad is None:  # the head's bias moves no map
                assert parameter.grad is None
            else:
                torch.testing.assert_close(parameter.grad, expected.grad)


def test_closed_form_is_used_where_it_can_be(net, images, monkeypatch):
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("a backward was run"))
    assert maps_of(net, images, layers=["last"])["last"].shape == (2, 3, 3, 3)


def test_several_layers_in_one_call_equal_separate_calls(net, images):
    together = maps_of(net, images, mechanism="channel_weighted")
    for layer in LAYERS:
        torch.testing.assert_close(
            maps_of(net, images, mechanism="channel_weighted", layers=[layer])[layer], together[layer]
        )


def test_classes_together_equal_classes_alone(net, images):
    together = maps_of(net, images)
    for k in range(CLASSES.shape[1]):
        alone = maps_of(net, images, CLASSES[:, k])
        for layer in LAYERS:
            torch.testing.assert_close(alone[layer], together[layer][:, k : k + 1])


@pytest.mark.parametrize("mechanism", ["grad_cam", "channel_weighted", "layer_cam"])
@pytest.mark.parametrize("closed_form", [True, False])
def test_derivatives_of_maps(mechanism, closed_form):
    net = Net(2).double()
    images = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    owners = (net.inner[0], net.last[0], net.fc)
    inputs = [owner.weight.detach().requires_grad_() for owner in owners]
    for owner in owners:
        del owner.weight
    model = net if closed_form else Wrapped(net)
    layers = LAYERS if closed_form else [f"net.{layer}" for layer in LAYERS]

    def signed_maps(*weights):
        for owner, weight in zip(owners, weights, strict=True):
            owner.weight = weight
        maps = maps_of(model, images, CLASSES[:1, :2], mechanism, layers, create_graph=True, signed=True)
        return tuple(maps.values())

    assert torch.autograd.gradcheck(signed_maps, inputs)
    assert torch.autograd.gradgradcheck(signed_maps, inputs, fast_mode=True)


def test_trained_maps_are_those_of_a_loop_with_second_derivatives(net, images):
    kept = []
    hook = net.inner.register_forward_hook(lambda _m, _a, output: kept.append(output))
    logits = net(images)
    hook.remove()
    loss = 0.0
    for b, chosen in enumerate(CLASSES):
        for c in chosen:
            (gradient,) = torch.autograd.grad(logits[b, c], kept[0], create_graph=True)
            weights = gradient[b].relu().sum((1, 2)) / 36  # ICASC Eq. 2
            loss = loss + (weights[:, None, None] * kept[0][b]).sum(0).relu().square().sum()
    expected = torch.autograd.grad(loss, net.inner.parameters())
    maps = maps_of(net, images, mechanism="channel_weighted", layers=["inner"], create_graph=True)["inner"]
    torch.testing.assert_close(maps.square().sum(), loss)
    torch.testing.assert_close(torch.autograd.grad(maps.square().sum(), net.inner.parameters()), expected)


@pytest.mark.parametrize("mechanism", [grad_cam, channel_weighted])
def test_detached_weights_stop_their_gradient_alone(net, images, mechanism):
    def gradients(maps):
        found = torch.autograd.grad(sum(m.square().sum() for m in maps), net.parameters(), allow_unused=True)
        return [torch.zeros(()) if gradient is None else gradient for gradient in found]

    whole = maps_of(net, images, mechanism=mechanism, create_graph=True)
    stopped = maps_of(net, images, mechanism=mechanism, create_graph=True, detach_weights=True)
    torch.testing.assert_close(stopped, whole)

    with record(net, LAYERS) as features:
        logits = net(images)
    expected = []
    for layer in LAYERS:
        weights = torch.stack(
            [torch.autograd.grad(logits[[0, 1], c].sum(), features[layer], retain_graph=True)[0] for c in CLASSES.T],
            1,
        )
        expected.append(mechanism(features[layer], weights).relu())
    found = gradients(stopped.values())
    for gradient, other in zip(found, gradients(expected), strict=True):
        torch.testing.assert_close(gradient, other)
    assert found[-2].eq(0).all()  # the classifier's weight reaches maps through their weights alone
    assert not gradients(whole.values())[-2].eq(0).all()


@pytest.mark.parametrize("create_graph", [True, False])
def test_signed_maps(net, images, create_graph):
    signed = maps_of(net, images, signed=True, create_graph=create_graph)
    plain = maps_of(net, images, create_graph=create_graph)
    for layer in LAYERS:
        assert signed[layer].min() < 0
        torch.testing.assert_close(signed[layer].relu(), plain[layer])
        assert signed[layer].requires_grad == plain[layer].requires_grad == create_graph


@pytest.mark.parametrize("create_graph", [True, False])
def test_grad_of_the_parameters_is_not_touched(net, images, create_graph):
    net(images).sum().backward()
    before = [parameter.grad for parameter in net.parameters()]
    values = [gradient.clone() for gradient in before]
    maps_of(net, images, create_graph=create_graph)
    assert all(parameter.grad is gradient for parameter, gradient in zip(net.parameters(), before, strict=True))
    torch.testing.assert_close(before, values, rtol=0, atol=0)


@pytest.mark.parametrize("create_graph", [True, False])
def test_logits_can_be_trained_on_afterwards(net, images, create_graph):
    expected = torch.autograd.grad(F.cross_entropy(net(images), CLASSES[:, 0]), net.parameters())
    with record(net, LAYERS) as features:
        logits = net(images)
    attention_maps(logits, features, CLASSES, create_graph=create_graph)
    attention_maps(logits, features, CLASSES[:, :1], "layer_cam", create_graph=create_graph)
    F.cross_entropy(logits, CLASSES[:, 0]).backward()
    torch.testing.assert_close([parameter.grad for parameter in net.parameters()], list(expected))


def test_partly_frozen_network(net, images):
    expected = maps_of(net, images)
    net.stem.requires_grad_(False)
    net.inner.requires_grad_(False)
    maps = maps_of(net, images, create_graph=True)
    torch.testing.assert_close({layer: m.detach() for layer, m in maps.items()}, expected)
    sum(m.sum() for m in maps.values()).backward()
    assert net.stem.weight.grad is None
    assert net.last[0].weight.grad.abs().sum() > 0


def test_model_outputs_that_hold_logits(net, images):
    class Output(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, images):
            return {"logits": self.net(images)}

    maps = maps_of(Output(), images, layers=["net.inner", "net.last"])
    torch.testing.assert_close(list(maps.values()), list(maps_of(net, images).values()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype(net, images, dtype):
    maps = maps_of(net.to(dtype), images.to(dtype))
    assert all(m.dtype == dtype for m in maps.values())


@pytest.mark.parametrize("mechanism", sorted(set(TRAINABLE) - {"cam", "xgrad_cam"}))
def test_autocast_is_close_to_float32(mechanism):
    net, images = Net(8), torch.rand(2, 3, 16, 16)
    expected = maps_of(net, images, mechanism=mechanism, signed=True)
    with torch.autocast("cpu", torch.bfloat16):
        maps = maps_of(net, images, mechanism=mechanism, signed=True, create_graph=True)
    for layer in LAYERS:
        assert maps[layer].dtype == torch.float32
        assert (maps[layer] - expected[layer]).abs().max() < 0.03 * expected[layer].abs().max()
    sum(m.square().sum() for m in maps.values()).backward()
    assert all(p.grad.isfinite().all() for name, p in net.named_parameters() if name != "fc.bias")


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval(), nn.GroupNorm(2, 4)],
    ids=["batch", "batch, evaluating", "group"],
)
@pytest.mark.parametrize("create_graph", [True, False])
def test_autocast_through_normalisation(norm, create_graph):
    """Torch has no batched derivative of these in mixed precision."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Softplus(), nn.Flatten(), nn.Linear(4 * 36, 5))
    images = torch.rand(2, 3, 8, 8)
    expected = maps_of(model, images, layers=["0"], signed=True)["0"]
    with torch.autocast("cpu", torch.bfloat16):
        maps = maps_of(model, images, layers=["0"], signed=True, create_graph=create_graph)["0"]
    assert (maps - expected).abs().max() < 0.05 * expected.abs().max()
    if create_graph:
        maps.square().sum().backward()
        assert model[4].weight.grad.isfinite().all()


def test_autocast_leaves_float64_alone(net, images):
    with record(net, ["stem"]) as features:
        net(images)
    with torch.autocast("cpu", torch.bfloat16), record(net, ["stem", "inner"]) as autocast:
        net(images)
    assert autocast["inner"].dtype == torch.float64
    torch.testing.assert_close(autocast["stem"], features["stem"], rtol=0, atol=0)


def test_channels_last_equals_contiguous():
    net, images = models.resnet18(num_classes=5).eval(), torch.rand(2, 3, 64, 64)
    expected = maps_of(net, images, layers=["layer3", "layer4"], create_graph=True)
    net, images = net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    maps = maps_of(net, images, layers=["layer3", "layer4"], create_graph=True)
    for layer, values in expected.items():
        torch.testing.assert_close(maps[layer] / values.max(), values / values.max(), rtol=1e-4, atol=1e-5)


def test_a_mechanism_of_ones_own(net, images):
    maps = maps_of(net, images, mechanism=lambda features, gradients: features.sum(1, keepdim=True) - gradients.sum(2))
    assert maps["last"].shape == (2, 3, 3, 3)


# Refusals.


@pytest.mark.parametrize(
    ("classes", "got"),
    [
        (torch.tensor([0, 1, 2]), r"int64 of shape \(3,\)"),
        (torch.tensor([0.0, 1.0]), r"float32 of shape \(2,\)"),
        (torch.zeros(2, 5, dtype=torch.bool), r"bool of shape \(2, 5\)"),
        (torch.zeros(2, 1, 1, dtype=torch.long), r"int64 of shape \(2, 1, 1\)"),
        (torch.tensor(1), r"int64 of shape \(\)"),
    ],
)
def test_classes_that_do_not_fit_the_batch(net, images, classes, got):
    expected = rf"classes must be integers of shape \(2,\) or \(2, K\) for a batch of 2; got {got}"
    with pytest.raises(ValueError, match=expected):
        maps_of(net, images, classes)


@pytest.mark.parametrize("create_graph", [True, False])
@pytest.mark.parametrize(("classes", "got"), [([0, 5], "0 to 5"), ([-1, 4], "-1 to 4")])
def test_classes_out_of_range(net, images, classes, got, create_graph):
    with pytest.raises(ValueError, match=f"classes must lie in 0 to 4 for 5 logits; got {got}"):
        maps_of(net, images, torch.tensor(classes), create_graph=create_graph)


def test_maps_to_train_on_without_a_graph(net, images):
    expected = (
        r"create_graph=True needs a forward that can be trained: call the model outside `torch\.no_grad` "
        r"with at least one parameter that requires grad, or pass create_graph=False"
    )
    with torch.no_grad(), pytest.raises(ValueError, match=expected):
        maps_of(net, images, create_graph=True)
    net.requires_grad_(False)
    with pytest.raises(ValueError, match=expected):
        maps_of(net, images, create_graph=True)


def test_cam_elsewhere(net, images):
    expected = r"mechanism 'cam' needs one layer that is average-pooled into one linear classifier, and recorded are "
    with pytest.raises(ValueError, match=expected + "inner; use 'grad_cam'"):
        maps_of(net, images, mechanism="cam", layers=["inner"])
    with pytest.raises(ValueError, match=expected + "inner, last; use 'grad_cam'"):
        maps_of(net, images, mechanism="cam")
    with pytest.raises(ValueError, match=expected + r"net\.last; use 'grad_cam'"):
        maps_of(Wrapped(net), images, mechanism="cam", layers=["net.last"])


def test_cam_at_its_layer(net, images):
    maps = maps_of(net, images, mechanism="cam", layers=["last"], signed=True)["last"]
    weight = net.fc.weight[CLASSES]
    features = net.last(net.inner(net.stem(images)))
    torch.testing.assert_close(maps, torch.einsum("bkc,bchw->bkhw", weight, features).detach())


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:, 0]])
def test_layer_that_the_logits_do_not_depend_on(images, classes):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.aside = Net(), nn.Conv2d(3, 2, 1)

        def forward(self, images):
            self.aside(images)
            return self.net(images)

    expected = "layer 'aside' got no gradient: the logits do not depend on its map. In a network that classifies by "
    with pytest.raises(ValueError, match=expected):
        maps_of(Aside().double(), images, classes, layers=["net.inner", "aside"])


def test_class_token():
    model, images = timm.create_model("test_vit", num_classes=5).eval(), torch.rand(2, 3, 160, 160)
    maps = maps_of(model, images, layers=["blocks.3.norm1", "blocks.5.norm1"])
    assert all(m.shape == (2, 3, 10, 10) for m in maps.values())
    nn.init.normal_(model.head.weight)
    for classes in (CLASSES, CLASSES[:, 0]):
        with pytest.raises(ValueError, match=r"layer 'blocks\.5' got no gradient: the logits do not depend on its map"):
            maps_of(model, images, classes, layers=["blocks.3.norm1", "blocks.5"])
    # A classifier that is still zero reads nothing at all, which is no mistake in the choice of layers.
    nn.init.zeros_(model.head.weight)
    maps = maps_of(model, images, layers=["blocks.5.norm1"])
    assert maps["blocks.5.norm1"].eq(0).all()


@pytest.mark.parametrize("create_graph", [True, False])
def test_vision_transformer_equals_a_loop(create_graph):
    model = timm.create_model("test_vit", num_classes=5).double().eval()
    nn.init.normal_(model.head.weight)
    images = torch.rand(2, 3, 160, 160, dtype=torch.float64)
    maps = maps_of(model, images, layers=["blocks.5.norm1"], create_graph=create_graph)["blocks.5.norm1"]
    kept = []
    hook = model.blocks[5].norm1.register_forward_hook(lambda _m, _a, output: kept.append(output))
    logits = model(images)
    hook.remove()
    for b, chosen in enumerate(CLASSES):
        for k, c in enumerate(chosen):
            (gradient,) = torch.autograd.grad(logits[b, c], kept[0], retain_graph=True)
            expected = (kept[0][b, 1:] * gradient[b, 1:].mean(0)).sum(-1).relu().view(10, 10)
            torch.testing.assert_close(maps[b, k], expected)


# attend.


def test_attend_takes_the_highest_scoring_classes(net, images):
    net.eval()
    attention = attend(net, images, top=2, layers=LAYERS, mechanism="layer_cam")
    logits = net(images)
    torch.testing.assert_close(attention.logits, logits.detach())
    assert not attention.logits.requires_grad
    assert attention.classes.tolist() == logits.topk(2).indices.tolist()
    torch.testing.assert_close(attention.maps, maps_of(net, images, attention.classes, "layer_cam"))
    assert attend(net, images, top=99, layers="last").classes.shape == (2, 5)
    assert attend(net, images, layers="last").classes.shape == (2, 1)


def test_attend_takes_given_classes(net, images):
    attention = attend(net, images, CLASSES[:, 0], layers=["last"], signed=True)
    assert attention.classes.tolist() == [[0], [3]]
    torch.testing.assert_close(attention.maps, maps_of(net, images, CLASSES[:, 0], layers=["last"], signed=True))
    attention = attend(net, images, CLASSES, layers=["last"])
    assert torch.equal(attention.classes, CLASSES)


def test_attend_finds_the_last_layer():
    resnet = models.resnet18(num_classes=5).eval()
    attention = attend(resnet, torch.rand(2, 3, 64, 64))
    assert {layer: tuple(m.shape) for layer, m in attention.maps.items()} == {"layer4": (2, 1, 2, 2)}
    one_stage = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    assert list(attend(one_stage, torch.rand(2, 3, 8, 8)).maps) == ["0"]


@pytest.mark.parametrize("top", [0, -1])
def test_attend_refuses_no_class(net, images, top):
    with pytest.raises(ValueError, match=f"^top must be at least 1 class; got {top}$"):
        attend(net, images, top=top, layers="last")


@pytest.mark.parametrize("training", [True, False])
def test_attend_keeps_the_mode(training):
    resnet = models.resnet18(num_classes=5).train(training)
    attend(resnet, torch.rand(2, 3, 64, 64), layers=["layer4"])
    assert all(module.training == training for module in resnet.modules())
    assert resnet.bn1.num_batches_tracked == 0
    assert all(parameter.grad is None for parameter in resnet.parameters())


def test_attend_in_inference_mode(net, images):
    expected = attend(net, images, top=2, layers=LAYERS)
    with torch.inference_mode():
        attention = attend(net, images, top=2, layers=LAYERS)
    torch.testing.assert_close(attention.maps, expected.maps)


@pytest.mark.parametrize("mechanism", ["grad_cam", "channel_weighted"])
def test_no_map_waits_for_garbage_collection(net, images, mechanism, in_cycles):
    assert in_cycles(lambda: attend(net, images, top=2, layers=LAYERS, mechanism=mechanism)) == []


# Normalising and resizing.
