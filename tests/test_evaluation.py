import itertools
from dataclasses import replace

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn import functional as F

from looksharp.data.split import Pairs
from looksharp.data.synthetic import biased_digits, digits
from looksharp.evaluation import evaluate
from looksharp.networks import SmallNet

LAYERS = ("stage2", "stage3")


@pytest.fixture(scope="module")
def data():
    return digits(train=16, val=16, test=24)


@pytest.fixture(scope="module")
def split(data):
    return data.splits["test"]


@pytest.fixture(scope="module")
def model(data):
    """Random weights, but BatchNorm knows the images, so that maps differ from image to image."""
    torch.manual_seed(0)
    net = SmallNet(10, width=8)
    with torch.no_grad():
        net.fc.weight.mul_(5)
        for _ in range(20):
            net(data.pixels.normalize(data.splits["train"].images))
    return net.eval()


def features_and_logits(model, image):
    found = {}
    hooks = [
        getattr(model, name).register_forward_hook(lambda m, a, output, name=name: found.update({name: output}))
        for name in LAYERS
    ]
    logits = model(image)
    for hook in hooks:
        hook.remove()
    return found, logits


def grad_cam(features, logits, label, layer):
    """Grad-CAM of one class for one image, by the book."""
    (gradient,) = torch.autograd.grad(logits[0, label], features[layer], retain_graph=True)
    weights = gradient[0].mean((1, 2))
    return sum(weight * channel for weight, channel in zip(weights, features[layer][0], strict=True)).clamp(min=0)


def shares(true, confusing, inner, inner_confusing):
    """ICASC Eq. 3 to 5 for one image and class, position by position."""
    maps = (true, confusing, inner, inner_confusing)
    true, confusing, inner, inner_confusing = (m / m.max() if m.max() > 0 else m for m in maps)
    mask = torch.zeros_like(true)
    for i, j in itertools.product(*map(range, true.shape)):
        mask[i, j] = 1 / (1 + torch.exp(-100 * (true[i, j] - 0.55 * true.max())))
    inner_mask = F.interpolate(mask[None, None], inner.shape, mode="bilinear")[0, 0]

    def overlap(a, b, where):
        both = sum((min(a[i, j], b[i, j]) * where[i, j]).item() for i, j in itertools.product(*map(range, a.shape)))
        return 2 * both / (a + b).sum().item() if (a + b).sum() > 0 else 0.0

    consistent = (inner * inner_mask).sum() / inner.sum() if inner.sum() > 0 else torch.tensor(0.0)
    return overlap(true, confusing, mask), overlap(inner, inner_confusing, inner_mask), consistent.item()


def share_inside(attention, mask):
    large = F.interpolate(attention[None, None], mask.shape, mode="bilinear")[0, 0]
    return (large * mask).sum().item() / large.sum().item() if large.sum() > 0 else None


def naive(model, split, pixels, true_classes):
    """Every quantity image by image; `true_classes` gives the true classes of a target."""
    rows = {name: [] for name in ("overlap_last", "overlap_inner", "consistency", "attention_inside", "no_attention")}
    every_logit = []
    for index in range(len(split)):
        features, logits = features_and_logits(model, pixels.normalize(split.images[index : index + 1]))
        every_logit.append(logits.detach())
        true = true_classes(split.targets[index])
        wrong = [label for label in range(10) if label not in true]
        confusing = max(wrong, key=lambda label: logits[0, label].item()) if wrong else None
        maps = {
            (layer, label): grad_cam(features, logits, label, layer).detach()
            for layer in LAYERS
            for label in [*true, *([] if confusing is None else [confusing])]
        }
        for label in true if wrong else []:
            last, inner, consistent = shares(
                maps["stage3", label], maps["stage3", confusing], maps["stage2", label], maps["stage2", confusing]
            )
            rows["overlap_last"].append(last)
            rows["overlap_inner"].append(inner)
            rows["consistency"].append(consistent)
        for label, mask in split.pairs.of(index) if split.pairs is not None else ():
            if label in true:
                share = share_inside(maps["stage3", label], mask.float())
                rows["no_attention"].append(share is None)
                rows["attention_inside"] += [] if share is None else [share]
    return {name: sum(values) / len(values) for name, values in rows.items() if values}, torch.cat(every_logit)


def test_one_label(model, split, data):
    expected, logits = naive(model, split, data.pixels, lambda target: [int(target)])
    ranks = [logits[i].argsort(descending=True).tolist().index(int(t)) for i, t in enumerate(split.targets)]
    expected |= {
        "top1": sum(rank < 1 for rank in ranks) / len(ranks),
        "top5": sum(rank < 5 for rank in ranks) / len(ranks),
        "loss": -sum(logits[i].double().log_softmax(0)[t].item() for i, t in enumerate(split.targets)) / len(ranks),
    }
    found = evaluate(model, split, data.pixels)
    assert found == pytest.approx(expected, abs=2e-5)
    assert 0 < found["overlap_last"] < 1
    assert 0 < found["attention_inside"] < 1


@pytest.fixture(scope="module")
def several(split):
    """The digit, its parity as class 0 or 1, one image with no label and one with all."""
    targets = F.one_hot(split.targets, 10)
    targets[torch.arange(len(split)), split.targets % 2] = 1
    targets[3], targets[7] = 0, 1
    targets[8, 9] = 1
    return replace(split, targets=targets)


def test_several_labels(model, several, data):
    expected, logits = naive(model, several, data.pixels, lambda target: target.nonzero().flatten().tolist())
    odds = logits.sigmoid().double()
    targets = several.targets
    assert targets.any(0).all()
    expected |= {
        "map": average_precision_score(targets.numpy(), odds.numpy(), average="macro"),
        "loss": -torch.where(targets == 1, odds.log(), (1 - odds).log()).mean().item(),
    }
    assert evaluate(model, several, data.pixels) == pytest.approx(expected, abs=2e-5)


def test_a_class_without_positives_is_left_out_of_the_mean(model, several, data):
    targets = several.targets.clone()
    targets[:, 4] = 0
    present = [label for label in range(10) if label != 4]
    with torch.no_grad():
        odds = model(data.pixels.normalize(several.images)).sigmoid()
    expected = average_precision_score(targets[:, present], odds[:, present], average="macro")
    found = evaluate(model, replace(several, targets=targets), data.pixels)
    assert found["map"] == pytest.approx(expected, abs=1e-5)
    nothing = evaluate(model, replace(several, targets=torch.zeros_like(targets), pairs=None), data.pixels)
    assert nothing.keys() == {"map", "loss"}  # of no class there is no map
    assert nothing["map"] == 0


@pytest.mark.parametrize("labels", ["one", "several"])
def test_the_batch_size_changes_nothing(labels, model, split, several, data):
    chosen = split if labels == "one" else several
    whole = evaluate(model, chosen, data.pixels, batch_size=64)
    for size in (1, 5, 7):
        assert evaluate(model, chosen, data.pixels, batch_size=size) == pytest.approx(whole, abs=2e-6)


def test_layers_and_mechanism_are_those_asked_for(model, split, data):
    plain = evaluate(model, split, data.pixels)
    assert evaluate(model, split, data.pixels, layers=LAYERS, mechanism="grad_cam") == plain
    other = evaluate(model, split, data.pixels, layers=("stage1", "stage3"))
    assert other["overlap_last"] == plain["overlap_last"]
    assert other["overlap_inner"] != pytest.approx(plain["overlap_inner"], abs=1e-4)
    other = evaluate(
        model,
        split,
        data.pixels,
        mechanism=lambda features, gradients: (features.unsqueeze(1) * gradients.abs()).sum(2),
    )
    assert other["attention_inside"] != pytest.approx(plain["attention_inside"], abs=1e-4)


class Rigged(nn.Module):
    """A network that knows where it looks: class c at the c-th quarter of the image, class 3 nowhere."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False))
        self.last = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 4, 1, bias=False))
        self.fc = nn.Linear(4, 4, bias=False)
        with torch.no_grad():
            self.inner[0].weight.zero_()[:3, :, 0, 0] = torch.eye(3)
            self.last[1].weight.zero_()[:, :, 0, 0] = torch.eye(4)
            self.fc.weight.copy_(torch.eye(4))

    def forward(self, images):
        return self.fc(self.last(self.inner(images)).mean((2, 3)))


@pytest.fixture
def rigged(data):
    """Four images: colour channel c lights up one quarter; classes 0, 1, 2 and, wrongly, 3."""
    images = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    for channel, (row, column) in enumerate([(0, 0), (0, 8), (8, 0)]):
        images[:, channel, row : row + 8, column : column + 8] = 100 + 10 * channel
    targets = torch.tensor([0, 1, 2, 3])
    masks = torch.zeros(4, 16, 16, dtype=torch.bool)
    masks[0, :8, :8] = True  # exactly where class 0 is looked for
    masks[1, 8:] = True  # where class 1 is not
    masks[2, :, :8] = True  # around it
    masks[3, :, :] = True
    pixels = replace(data.pixels, size=(16, 16), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    split = replace(data.splits["val"], images=images, targets=targets, pairs=Pairs(range(4), range(4), masks))
    return split, pixels


def test_known_answers(rigged):
    split, pixels = rigged
    found = evaluate(Rigged().eval(), split, pixels, layers=("inner", "last"))
    blurred = F.interpolate(F.pad(torch.ones(1, 1, 4, 4), (0, 4, 0, 4)), (16, 16), mode="bilinear")[0, 0]
    outwards = F.interpolate(F.pad(torch.ones(1, 1, 4, 4), (4, 0, 0, 4)), (16, 16), mode="bilinear")[0, 0]
    inside = (blurred[:8, :8].sum() / blurred.sum()).item()
    into_the_bottom = (outwards[8:].sum() / outwards.sum()).item()  # resizing carries some of it over the edge
    beside = F.interpolate(F.pad(torch.ones(1, 1, 4, 4), (0, 4, 4, 0)), (16, 16), mode="bilinear")[0, 0]
    around = (beside[:, :8].sum() / beside.sum()).item()
    assert found["attention_inside"] == pytest.approx((inside + into_the_bottom + around) / 3, abs=1e-5)
    assert found["no_attention"] == 0.25  # class 3, the one that is looked for nowhere, and left out above
    assert found["top1"] == 0.25  # class 2 is brightest in every image
    assert found["top5"] == 1
    assert found["overlap_last"] == pytest.approx(0, abs=1e-6)
    assert found["overlap_inner"] == pytest.approx(0, abs=1e-6)


def test_a_network_that_looks_nowhere(rigged):
    split, pixels = rigged
    model = Rigged().eval()
    nn.init.zeros_(model.fc.weight)
    found = evaluate(model, split, pixels, layers=("inner", "last"))
    assert found["no_attention"] == 1
    assert "attention_inside" not in found
    assert (found["overlap_last"], found["overlap_inner"], found["consistency"]) == (0, 0, 0)


def test_masks_of_other_classes_are_not_asked_about(rigged):
    split, pixels = rigged
    pairs = Pairs([0, 0, 1], [0, 1, 2], split.pairs.masks[:3])
    found = evaluate(Rigged().eval(), replace(split, pairs=pairs), pixels, layers=("inner", "last"))
    only = Pairs([0], [0], split.pairs.masks[:1])
    alone = evaluate(Rigged().eval(), replace(split, pairs=only), pixels, layers=("inner", "last"))
    assert found["attention_inside"] == alone["attention_inside"]


def test_without_masks_or_groups_nothing_is_made_up(model, split, data):
    found = evaluate(model, replace(split, pairs=None), data.pixels)
    assert found.keys() == {"top1", "top5", "loss", "overlap_last", "overlap_inner", "consistency"}
    empty = evaluate(model, replace(split, pairs=split.pairs.restricted([])), data.pixels)
    assert empty == found


def test_worst_group(model):
    data = biased_digits(train=1, val=1, test=40)
    split = data.splits["unbiased"]
    split = replace(split, groups=torch.arange(40) % 7)
    with torch.no_grad():
        right = model(data.pixels.normalize(split.images)).argmax(1) == split.targets
    expected = min(right[split.groups == group].double().mean().item() for group in range(7))
    for size in (3, 40):
        found = evaluate(model, split, data.pixels, batch_size=size)
        assert found["worst_group"] == pytest.approx(expected, abs=1e-6)
    assert found["worst_group"] <= found["top1"] == pytest.approx(right.double().mean().item())


def test_what_it_leaves_as_it_was(model, split, data):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, split, data.pixels)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


def test_errors(model, split, data):
    with pytest.raises(ValueError, match="layers must name two, the inner one and the last; got stage3"):
        evaluate(model, split, data.pixels, layers=["stage3"])
    with pytest.raises(ValueError, match="layer 'zebra' is not in SmallNet"):
        evaluate(model, split, data.pixels, layers=["stage2", "zebra"])
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        evaluate(model, split, data.pixels, batch_size=0)
    with pytest.raises(ValueError, match=r"images are \(48, 48\) pixels and must be \(32, 32\)"):
        evaluate(model, split, replace(data.pixels, size=(32, 32)))
