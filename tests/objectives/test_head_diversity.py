import pytest
import torch
from torch import nn

from looksharp import AttendAndRectify, Classification, HeadDiversity
from looksharp.networks import CifarResNet
from looksharp.networks.attention_module import AttentionModule


@pytest.fixture
def net():
    torch.manual_seed(0)
    return AttendAndRectify(CifarResNet(8, 5), image_size=16, heads=3).double()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.rand(4, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 2, 4, 2])


def masks_of(net, images):
    """The masks, from the modules' own weights."""
    found = []
    handles = [
        module.attend.register_forward_hook(lambda _m, _a, scores: found.append(scores.flatten(2).softmax(2)))
        for module in net.modules()
        if isinstance(module, AttentionModule)
    ]
    net(images)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("overlap", ["cosine", "product"])
def test_term_is_the_mean_over_images_modules_and_pairs(net, batch, overlap):
    net.eval()
    values = []
    for masks in masks_of(net, batch[0]):  # (B, K, hw)
        for found in masks:
            side = int(len(found[0]) ** 0.5)
            if overlap == "product":
                heads = found.reshape(3, side // 2, 2, side // 2, 2).mean((2, 4)).flatten(1)
            else:
                heads = [h / sum(v * v for v in h) ** 0.5 for h in found]
            pairs = [(heads[i] @ heads[j]) ** 2 for i in range(3) for j in range(3) if i != j]
            values.append(sum(pairs) / (9 if overlap == "product" else 6))
    expected = sum(values) / len(values)
    plain = Classification()(net, batch)
    step = (Classification() + HeadDiversity(0.5, overlap))(net, batch)
    torch.testing.assert_close(step.terms["head_diversity"], expected.detach())
    torch.testing.assert_close(step.loss, plain.loss + 0.5 * expected)
    assert {layer: tuple(maps.shape) for layer, maps in step.maps.items()} == {
        "attention.0.mask": (4, 3, 16, 16),
        "attention.1.mask": (4, 3, 8, 8),
        "attention.2.mask": (4, 3, 4, 4),
    }


def test_weight_is_the_authors():
    assert HeadDiversity().weight == 0.001


def test_training_on_it_parts_the_heads(net, batch):
    objective = Classification() + HeadDiversity(10.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    found = []
    for _ in range(15):
        step = objective(net, batch)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        found.append(float(step.terms["head_diversity"]))
    assert found[-1] < 0.7 * found[0]


def test_evaluation(net, batch):
    objective = Classification() + HeadDiversity()
    net.eval()
    trained = objective(net, batch)
    with torch.no_grad():
        torch.testing.assert_close(objective(net, batch).terms, trained.terms)
    with torch.inference_mode():
        torch.testing.assert_close(objective(net, batch).terms, trained.terms)


def test_network_without_attention_modules_is_refused(batch):
    objective = Classification() + HeadDiversity()
    with pytest.raises(ValueError, match=r"^head diversity needs a network with attention modules, .*; CifarResNet"):
        objective(CifarResNet(8, 5).double(), batch)


def test_overlap_is_refused():
    with pytest.raises(ValueError, match=r"^overlap must be one of cosine, product; got 'theirs'$"):
        HeadDiversity(overlap="theirs")


def test_overlap_follows_the_networks_preset(batch):
    net = AttendAndRectify(CifarResNet(8, 5), image_size=16, heads=3, preset="official_code").double().eval()
    values = {o: HeadDiversity(overlap=o)(net, batch).terms["head_diversity"] for o in (None, "cosine", "product")}
    assert values[None] == values["product"] != values["cosine"]


def test_modules_that_do_not_run_have_nothing_to_part(batch):
    """With gate identity the backbone alone is trained."""
    net = AttendAndRectify(CifarResNet(8, 5), image_size=16, gate="identity").double()
    step = (Classification() + HeadDiversity())(net, batch)
    assert step.terms["head_diversity"] == 0
    assert not step.maps
    torch.testing.assert_close(step.loss.detach(), step.terms["classification"])
    step.loss.backward()
    assert net.backbone.conv1.weight.grad.any()


def test_a_module_alone(batch):
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = AttentionModule(3, 5)

        def forward(self, images):
            return self.inner(images)

    step = (Classification() + HeadDiversity())(Alone().double(), batch)
    assert list(step.maps) == ["inner.mask"]
