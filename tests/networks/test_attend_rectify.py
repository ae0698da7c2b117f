import copy
import inspect
import math

import pytest
import torch
import torch.distributed
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from looksharp import (
    GAIN,
    ICASC,
    AttendAndRectify,
    Batch,
    Classification,
    Guidance,
    HeadDiversity,
    attention_maps,
    record,
)
from looksharp.attention.stages import last_stages
from looksharp.batch import BatchMarks
from looksharp.networks import CifarResNet, build_network
from looksharp.networks.architecture import BUILT_WITH
from looksharp.networks.attention_module import AttentionModule
from looksharp.networks.gating import GlobalGate

CLASSES = 5


class Net(nn.Module):
    """Three stages and a linear classifier of the pooled last one; no BatchNorm unless asked for."""

    def __init__(self, norm=False):
        super().__init__()
        norms = [nn.BatchNorm2d(c) if norm else nn.Identity() for c in (4, 6, 8)]
        self.one = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norms[0], nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), norms[1], nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), norms[2], nn.ReLU(inplace=True))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images):
        return self.head(self.three(self.two(self.one(images))).mean((2, 3)))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def images():
    return torch.randn(4, 3, 9, 12)


def warn(backbone=None, **options):
    return AttendAndRectify(backbone or Net(), image_size=(9, 12), **options)


# The paper's equations, written again: one image, one head at a time, the hypotheses as maps of class scores.


def module_by_loop(module, features, attention="softmax"):
    """Eq. 1 to 5 for one image's features (C, h, w): masks, head gates and class scores."""
    masks, hypotheses, scores = [], [], []
    for k in range(len(module.attend.weight)):
        w_h, w_o, w_g = module.attend.weight[k : k + 1], module.hypothesis[k, :-1], module.hypothesis[k, -1:]
        logits = F.conv2d(features[None], w_h, padding=1)[0, 0]  # (h, w)
        exponents = (logits - logits.max()).exp()
        mask = exponents / exponents.sum() if attention == "softmax" else 1 / (1 + (-logits).exp())
        classes = F.conv2d(features[None], w_o, padding=1)[0]  # (classes, h, w)
        masks.append(mask)
        # "weighted by the spatial attention scores and spatially averaged"; softmax masks sum to 1.
        positions = 1 if attention == "softmax" else mask.numel()
        hypotheses.append(torch.stack([(mask * scores_of_class).sum() / positions for scores_of_class in classes]))
        scores.append((mask * F.conv2d(features[None], w_g, padding=1)[0, 0]).sum() / positions)
    exponents = [score.tanh().exp() for score in scores]
    gates = [exponent / sum(exponents) for exponent in exponents]
    return masks, gates, sum(g * o for g, o in zip(gates, hypotheses, strict=True))


def network_by_loop(net, image, attention="softmax"):
    """Eq. 1 to 8 for one image: the outputs' class scores, the global gates and the mixed probabilities."""
    backbone = net.backbone
    one = backbone.one(image[None])
    two = backbone.two(one)
    three = backbone.three(two)
    found = [
        module_by_loop(module, features[0], attention)[2]
        for module, features in zip(net.attention, (one, two, three), strict=True)
    ]
    pooled = three[0].flatten(1).mean(1)
    found.append(backbone.head.weight @ pooled + backbone.head.bias)
    exponents = [(row @ pooled).tanh().exp() for row in net.gate.score.weight]  # Eq. 6 and 7
    gates = [exponent / sum(exponents) for exponent in exponents]
    return found, gates, sum(g * o.exp() / o.exp().sum() for g, o in zip(gates, found, strict=True))


@pytest.mark.parametrize("attention", ["softmax", "sigmoid"])
def test_module_is_equations_1_to_5(attention):
    module = AttentionModule(4, CLASSES, heads=3, attention=attention).double()
    features = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    with record(module, ["mask", "gate"]) as recorded:
        scores = module(features)
    for i in range(2):
        masks, gates, expected = module_by_loop(module, features[i], attention)
        torch.testing.assert_close(recorded["mask"][i], torch.stack(masks))
        torch.testing.assert_close(recorded["gate"][i].flatten(), torch.stack(gates))
        torch.testing.assert_close(scores[i], expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 6)])
def test_module_at_the_border(size):
    module = AttentionModule(2, CLASSES, heads=2).double()
    features = torch.randn(1, 2, *size, dtype=torch.float64)
    torch.testing.assert_close(module(features)[0], module_by_loop(module, features[0])[2])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("attention", ["softmax", "sigmoid"])
def test_network_is_equations_1_to_8(images, attention, training):
    net = warn(attention=attention).double().train(training)
    images = images.double()
    with record(net, ["gate", "attention.1.mask"]) as recorded:
        logits = net(images)
    for i, image in enumerate(images):
        _, gates, expected = network_by_loop(net, image, attention)
        torch.testing.assert_close(recorded["gate"][i].flatten(), torch.stack(gates))
        torch.testing.assert_close(logits[i].softmax(0), expected)


def test_authors_code_mixes_log_probabilities_behind_batchnorm(images):
    net = warn(preset="official_code").double().eval()
    assert isinstance(net.gate.norm, nn.BatchNorm1d)
    images = images.double()
    plain = copy.deepcopy(net)
    plain.gate.norm = nn.Identity()
    # At its start BatchNorm in evaluation only divides by sqrt(1 + eps).
    plain.gate.score.weight.data /= math.sqrt(1 + net.gate.norm.eps)
    for image in images:
        found, gates, _ = network_by_loop(plain, image)
        expected = sum(g * (o - o.exp().sum().log()) for g, o in zip(gates, found, strict=True))
        scale = net(image[None])[0] - expected
        torch.testing.assert_close(scale, found[-1].exp().sum().log().expand(CLASSES))


def test_mixing_can_be_chosen_apart_from_the_preset(images):
    one, other = warn(mixing="log_probability"), warn(preset="official_code")
    assert not torch.allclose(one(images), warn(one.backbone)(images))
    assert isinstance(one.gate.norm, nn.Identity)
    other.backbone, other.attention, other.gate = one.backbone, one.attention, one.gate
    assert torch.equal(one(images), other(images))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("preset", ["paper", "official_code"])
def test_masks_and_gates_sum_to_one(images, preset, training):
    net = warn(preset=preset, heads=3).train(training)
    names = [f"attention.{n}.{part}" for n in range(3) for part in ("mask", "gate")]
    with record(net, [*names, "gate"]) as recorded:
        net(images)
    shapes = [(9, 12), (5, 6), (3, 3)]
    for n, shape in enumerate(shapes):
        assert recorded[f"attention.{n}.mask"].shape == (4, 3, *shape)
        torch.testing.assert_close(recorded[f"attention.{n}.mask"].sum((2, 3)), torch.ones(4, 3))
        assert recorded[f"attention.{n}.gate"].shape == (4, 3, 1, 1)
        torch.testing.assert_close(recorded[f"attention.{n}.gate"].sum((1, 2, 3)), torch.ones(4))
    assert recorded["gate"].shape == (4, 4, 1, 1)
    torch.testing.assert_close(recorded["gate"].sum((1, 2, 3)), torch.ones(4))
    # tanh lies in (-1, 1), so that no gate closes: each is at least e^-1 / (e^-1 + 3 e).
    assert recorded["gate"].min() > 1 / (1 + 3 * math.e**2)


def test_softmax_and_sigmoid_masks_share_nothing_but_their_scores(images):
    net = warn(attention="sigmoid")
    with record(net, ["attention.0.mask"]) as recorded:
        net(images)
    expected = F.conv2d(net.backbone.one(images), net.attention[0].attend.weight, padding=1).sigmoid()
    torch.testing.assert_close(recorded["attention.0.mask"], expected)


# Ablations of the global gate, Sec. 4.3.


@pytest.mark.parametrize("training", [True, False])
def test_identity_is_the_backbone_to_the_last_bit(images, training):
    backbone = Net(norm=True)
    plain = copy.deepcopy(backbone).train(training)
    net = warn(backbone, gate="identity").train(training)
    assert torch.equal(net(images), plain(images))
    torch.testing.assert_close(dict(backbone.named_buffers()), dict(plain.named_buffers()), rtol=0, atol=0)


def test_average_weighs_all_alike(images):
    net = warn(gate="average").double()
    images = images.double()
    found = [network_by_loop_without_gate(net, image) for image in images]
    expected = torch.stack([sum(o.exp() / o.exp().sum() for o in outputs) / 4 for outputs in found])
    torch.testing.assert_close(net(images).softmax(1), expected)
    assert not list(net.gate.parameters())


def test_linear_projection_reads_all_outputs_and_begins_as_their_mean(images):
    net = warn(gate="linear").double()
    images = images.double()
    outputs = torch.stack([torch.cat(network_by_loop_without_gate(net, image)) for image in images])
    torch.testing.assert_close(net(images), outputs.unflatten(1, (4, CLASSES)).mean(1))
    nn.init.normal_(net.gate.weight)
    nn.init.normal_(net.gate.bias)
    torch.testing.assert_close(net(images), outputs @ net.gate.weight.T + net.gate.bias)


def network_by_loop_without_gate(net, image):
    one = net.backbone.one(image[None])
    two = net.backbone.two(one)
    three = net.backbone.three(two)
    found = [module_by_loop(m, f[0])[2] for m, f in zip(net.attention, (one, two, three), strict=True)]
    return [*found, net.backbone.head(three.mean((2, 3)))[0]]


def test_multilabel_network(images):
    net = warn().double()
    net.multilabel = True
    images = images.double()
    for i, image in enumerate(images):
        found, gates, _ = network_by_loop(net, image)
        expected = sum(g * o.sigmoid() for g, o in zip(gates, found, strict=True))
        torch.testing.assert_close(net(images)[i].sigmoid(), expected)


# Gradients.


def gradients(net, images, weight):
    net.zero_grad()
    (net(images) * weight).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters()}


def test_blocked_gradient_is_that_of_the_networks_own_output(images):
    net = warn(backbone_gradient=0.0).double().train()
    images, weight = images.double(), torch.randn(4, CLASSES, dtype=torch.float64)
    found = gradients(net, images, weight)
    # The same with the modules' class scores and the gates as numbers.
    with torch.no_grad():
        each = [network_by_loop(net, image) for image in images]
    own = net.backbone(images)
    numbers = [torch.stack([outputs[n] for outputs, _, _ in each]) for n in range(3)]
    outputs = torch.stack([*numbers, own], 1)
    gates = torch.stack([torch.stack(gates) for _, gates, _ in each])
    net.zero_grad()
    mixed = (gates[:, :, None] * outputs.softmax(2)).sum(1).log() + own.logsumexp(1, keepdim=True)
    (mixed * weight).sum().backward()
    for name, parameter in net.backbone.named_parameters():
        torch.testing.assert_close(found[f"backbone.{name}"], parameter.grad)
    assert all(found[name].any() for name in found if not name.startswith("backbone."))


@pytest.mark.parametrize("factor", [0.1, 2.0])
def test_gradient_into_the_backbone_is_scaled(images, factor):
    whole, blocked, scaled = (warn(backbone_gradient=f).double().train() for f in (1.0, 0.0, factor))
    for other in (blocked, scaled):
        other.load_state_dict(whole.state_dict())
    images, weight = images.double(), torch.randn(4, CLASSES, dtype=torch.float64)
    found = [gradients(net, images, weight) for net in (whole, blocked, scaled)]
    torch.testing.assert_close(whole(images), scaled(images), rtol=0, atol=0)
    for name, full in found[0].items():
        own, part = found[1][name], found[2][name]
        torch.testing.assert_close(part, own + factor * (full - own) if name.startswith("backbone.") else full)


def test_in_evaluation_the_gradient_is_whole(images):
    whole, blocked = warn().eval(), warn(backbone_gradient=0.0).eval()
    blocked.load_state_dict(whole.state_dict())
    weight = torch.randn(4, CLASSES)
    torch.testing.assert_close(gradients(whole, images, weight), gradients(blocked, images, weight))


@pytest.mark.parametrize("gate", ["attention", "linear", "average"])
@pytest.mark.parametrize("preset", ["paper", "official_code"])
def test_every_parameter_learns(images, preset, gate):
    net = warn(preset=preset, gate=gate)
    found = gradients(net, images, torch.randn(4, CLASSES))
    assert all(gradient.isfinite().all() and gradient.any() for gradient in found.values())


# What it does to the backbone: nothing.


def test_backbone_is_left_as_it_was(images):
    backbone = Net(norm=True)
    state = copy.deepcopy(backbone.state_dict())
    net = warn(backbone, layers=["one", "three"])
    torch.testing.assert_close(backbone.state_dict(), state, rtol=0, atol=0)
    assert backbone.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    names = [name for name, _ in net.named_parameters() if name.startswith("backbone.")]
    assert names == [f"backbone.{name}" for name in state if "running" not in name and "batches" not in name]
    net(images)
    with pytest.raises(RuntimeError, match="to have 3 channels"):
        net(torch.rand(1, 4, 9, 12))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_an_operation_in_place_behind_a_layer_does_not_reach_the_modules(images):
    net = warn(layers=["three.0"]).double()  # followed by a ReLU in place
    images = images.double()
    net(images).sum().backward()
    with record(net, ["attention.0.mask"]) as recorded:
        net(images)
    backbone = net.backbone
    features = backbone.three[0](backbone.two(backbone.one(images)))
    for i in range(4):
        masks, _, _ = module_by_loop(net.attention[0], features[i])
        torch.testing.assert_close(recorded["attention.0.mask"][i], torch.stack(masks))


@pytest.mark.parametrize(
    ("name", "size", "layers", "length"),
    [
        ("resnet18", 64, ("layer2", "layer3", "layer4"), 512),
        ("swin_tiny_patch4_window7_224", 224, ("layers.1", "layers.2", "norm"), 768),  # channels last
        ("vit_tiny_patch16_224", 224, ("blocks.5.norm1", "blocks.8.norm1", "blocks.11.norm1"), 192),  # tokens
        ("torchvision/squeezenet1_1", 96, ("features.4", "features.7", "classifier.2"), 512),  # classifier convolves
    ],
)
def test_any_backbone(name, size, layers, length):
    net = AttendAndRectify(build_network(name, 3), image_size=size, heads=2).eval()
    assert net.layers == layers
    assert net.gate.score.in_features == length
    images = torch.rand(2, 3, size, size)
    assert last_stages(net, images, 3) == tuple(f"backbone.{layer}" for layer in layers)
    with record(net, [f"attention.{n}.mask" for n in range(3)]) as masks, torch.no_grad():
        logits = net(images)
    with record(net.backbone, layers) as features, torch.no_grad():
        net.backbone(images)
    for n, layer in enumerate(layers):
        assert masks[f"attention.{n}.mask"].shape[2:] == features[layer].shape[2:]
        expected = module_by_loop(net.attention[n], features[layer][1])[0]
        torch.testing.assert_close(masks[f"attention.{n}.mask"][1], torch.stack(expected))
    assert logits.shape == (2, 3)


def test_other_sizes_than_the_one_probed(images):
    net = warn()
    assert net(torch.rand(2, 3, 20, 17)).shape == (2, CLASSES)


# Together with the rest of the house.


def test_maps_of_the_backbones_layers(images):
    net = warn().double().eval()
    images = images.double()
    classes = torch.tensor([[0, 3]] * 4)
    assert last_stages(net, images) == ("backbone.two", "backbone.three")
    with record(net, ["backbone.two", "backbone.three"]) as features:
        logits = net(images)
    found = attention_maps(logits, features, classes, "grad_cam")
    for layer in features:  # Grad-CAM written again, one class of one image at a time
        for i in range(4):
            for j, c in enumerate((0, 3)):
                (gradient,) = torch.autograd.grad(logits[i, c], features[layer], retain_graph=True)
                expected = torch.einsum("c,chw->hw", gradient[i].mean((1, 2)), features[layer][i]).relu()
                torch.testing.assert_close(found[layer][i, j], expected)


@pytest.mark.parametrize("preset", ["paper", "official_code"])
def test_icasc_trains_it(images, preset):
    net = warn(Net(norm=True), preset=preset)
    objective = ICASC() + HeadDiversity(weight=1.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        step = objective(net, (images, torch.tensor([0, 2, 4, 2])))
        assert {"backbone.two", "backbone.three", "attention.2.mask"} <= set(step.maps)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(step.loss.item())
    assert losses[-1] < losses[0]


def test_autocast(images):
    net = warn().eval()
    plain = net(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(images)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, plain, rtol=0.05, atol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        loss = (ICASC() + HeadDiversity())(net, (images, torch.tensor([0, 2, 4, 2]))).loss
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("gate", ["attention", "linear", "average", "identity"])
def test_copies_and_half_precision(images, gate):
    net = warn(gate=gate).eval()
    expected = net(images)
    assert torch.equal(copy.deepcopy(net)(images), expected)
    torch.testing.assert_close(net.bfloat16()(images.bfloat16()).float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler's own
def test_compiled(images):
    net = warn().eval()
    compiled = torch.compile(net, backend="eager")
    with pytest.warns(UserWarning, match="it runs eagerly"), record(compiled, ["attention.0.mask"]) as recorded:
        logits = torch.compile(net, backend="eager")(images)
    torch.testing.assert_close(logits, net(images))
    assert recorded["attention.0.mask"].shape == (4, 4, 9, 12)


def test_gain_trains_it(images):
    net = warn()
    mask = torch.zeros(1, 9, 12)
    mask[:, :4, :4] = 1
    guidance = BatchMarks(torch.tensor([1]), torch.tensor([2]), mask)
    step = (GAIN() + Guidance() + HeadDiversity())(net, Batch(images, torch.tensor([0, 2, 4, 2]), guidance))
    assert {"mining", "guidance", "head_diversity"} <= set(step.terms)
    step.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_around_another():
    net = warn(warn(), gate="average")
    assert last_stages(net, torch.rand(2, 3, 9, 12)) == ("backbone.backbone.two", "backbone.backbone.three")
    assert net.classifier == "backbone.head"
    assert net(torch.rand(2, 3, 9, 12)).shape == (2, CLASSES)


def test_export(images):
    net = warn(Net(norm=True)).eval()
    program = torch.export.export(net, (images,), strict=False)
    torch.testing.assert_close(program.module()(images), net(images))


def test_data_parallel(images, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net = warn(Net(norm=True))
        plain = copy.deepcopy(net)
        wrapped = nn.parallel.DistributedDataParallel(net)
        batch = (images, torch.tensor([0, 2, 4, 2]))
        objective = Classification() + HeadDiversity()
        for _ in range(2):  # a second step fails where a parameter of the first got no gradient
            objective(wrapped, batch).loss.backward()
            objective(plain, batch).loss.backward()
        for found, expected in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(found.grad, expected.grad)
    finally:
        torch.distributed.destroy_process_group()


# Sizes.


def test_number_of_parameters():
    backbone = CifarResNet(20, 10)
    own = sum(parameter.numel() for parameter in backbone.parameters())
    net = AttendAndRectify(backbone, image_size=32, heads=4)
    # Heads, hypotheses and gate scores by 3x3 convolutions without bias; a gate for each output.
    added = sum(channels * 9 * (4 + 4 * 10 + 4) for channels in (16, 32, 64)) + 64 * 4
    assert sum(parameter.numel() for parameter in net.parameters()) == own + added


@pytest.mark.parametrize(
    ("depth", "parameters", "published", "multiply_adds"),
    [
        # WRN's own are those of its paper (36.5M and 55.8M); Table 2 of WARN's says 37M and 5.3G, 56M and 8.2G. It
        # counts the modules' convolutions to 48 channels on maps of 32, 16 and 8 px, 0.124G, which are not made here.
        (28, 36_479_194, 37, 5.3),
        (40, 55_841_754, 56, 8.2),
    ],
)
def test_sizes_of_warn_are_the_published_ones(depth, parameters, published, multiply_adds):
    with torch.device("meta"):
        backbone = build_network(f"cifar_wrn{depth}_10", 10)
        net = AttendAndRectify(backbone, image_size=32, layers=3, heads=4).eval()
        images = torch.empty(1, 3, 32, 32)
    counts = []
    for network in (backbone, net):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(images)
        counts.append(counter.get_total_flops() / 2e9)
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    added = 9 * 48 * (160 + 320 + 640) + 640 * 4
    assert sum(p.numel() for p in net.parameters()) == parameters + added
    assert (parameters + added) / 1e6 == pytest.approx(published, abs=0.5)
    convolutions = 9 * 48 * (160 * 32**2 + 320 * 16**2 + 640 * 8**2) / 1e9
    assert counts[0] + convolutions == pytest.approx(multiply_adds, abs=0.07)
    # Masks by a convolution to 4 channels, and as many products again to sum what lies under them.
    ours = 2 * 9 * 4 * (160 * 32**2 + 320 * 16**2 + 640 * 8**2) + 9 * 44 * (160 + 320 + 640) + 3 * 40 + 640 * 4
    assert (counts[1] - counts[0]) * 1e9 == pytest.approx(ours, rel=1e-6)


def test_weights_start_with_he_variance():
    module = AttentionModule(64, classes=99, heads=4)
    assert module.hypothesis.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert module.attend.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.05)
    assert GlobalGate(512, 4).score.weight.std().item() == pytest.approx(math.sqrt(2 / 512), rel=0.1)


# Refusals.


def test_refusals():
    with pytest.raises(ValueError, match=r"^layers 4 is too much: .* of 4 stages .* found 3 \(one, two, three\)$"):
        warn(layers=4)
    with pytest.raises(ValueError, match=r"^layer 'tree' is not in Net; did you mean 'three'"):
        warn(layers=["tree"])
    with pytest.raises(ValueError, match=r"^layer 'head' returns a tensor of shape \(2, 5\); "):
        warn(layers=["head"])
    with pytest.raises(ValueError, match=r"^layers must name at least one layer; got none$"):
        warn(layers=[])
    with pytest.raises(ValueError, match=r"^gate must be one of attention, linear, average, identity; got 'none'$"):
        warn(gate="none")
    with pytest.raises(ValueError, match=r"^layers and heads must be at least 1; got 3 and 0$"):
        warn(heads=0)
    with pytest.raises(ValueError, match=r"^backbone_gradient must be at least 0; got -1$"):
        warn(backbone_gradient=-1)
    with pytest.raises(ValueError, match=r"^image_size must be at least 1 px; got 0x0$"):
        AttendAndRectify(Net(), image_size=0)


def test_hypotheses_under_sigmoid_masks_are_of_the_size_of_those_under_softmax_masks():
    """Sums over a 16 x 16 map would be two orders larger."""
    features = torch.randn(8, 4, 16, 16)
    sizes = []
    for attention in ("softmax", "sigmoid"):
        torch.manual_seed(0)
        sizes.append(AttentionModule(4, CLASSES, attention=attention)(features).abs().mean().item())
    assert sizes[1] < 3 * sizes[0]


OPTIONS = {
    "preset": ("paper", "official_code"),
    "attention": ("softmax", "sigmoid"),
    "gate": ("attention", "linear", "average", "identity"),
    "mixing": ("probability", "log_probability", "scores"),
    "backbone_gradient": (0.0, 0.1, 1.0),
    "layers": (1, 3, ["one", "three"]),
    "heads": (1, 4),
}


def test_every_option_with_values_is_trained_here():
    for name, parameter in inspect.signature(AttendAndRectify).parameters.items():
        assert name in OPTIONS or name in BUILT_WITH, parameter


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize(("option", "value"), [(o, v) for o, values in OPTIONS.items() for v in values])
def test_every_option_trains(images, option, value, multilabel):
    """With the loss parts that the architecture brings, a few steps lower the loss."""
    net = warn(**{option: value})
    net.multilabel = multilabel
    objective = Classification() + HeadDiversity()
    targets = torch.arange(len(images)) % CLASSES
    if multilabel:
        targets = F.one_hot(targets, CLASSES)
    optimizer, losses = torch.optim.SGD(net.parameters(), lr=0.1), []
    for _ in range(6):
        step = objective(net, (images, targets))
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(step.loss.item())
    assert losses[-1] < losses[0]
