import itertools
import math
from dataclasses import replace

import pytest
import timm
import torch
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn import functional as F

from looksharp.attention.attend import attend
from looksharp.evaluation import evaluate
from looksharp.marks.marks import Marks

LAYERS = ("stage2", "stage3")
OF_CLASSES = ("overlap_last", "overlap_inner", "consistency", "rank_agreement", "region_agreement")
OF_OBJECTS = ("attention_inside", "pointing_game", "map_iou")
CLOSE = dict.fromkeys((*OF_CLASSES, *OF_OBJECTS, "no_attention", "pixel_ap"), 2e-5)
CLOSE["map_iou"] = 5e-3  # where rounding decides about a pixel


def measure(model, split, pixels, **options):
    return evaluate(model, split, pixels, suites=["attention"], **options)


# Everything again, image by image --------------------------------------------------------------------------------


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


def resized(attention, size):
    return F.interpolate(attention[None, None].double(), size, mode="bilinear")[0, 0]


def shares(true, confusing, inner, inner_confusing):
    """ICASC Eq. 3 to 5 for one image and class, position by position."""
    maps = (true, confusing, inner, inner_confusing)
    true, confusing, inner, inner_confusing = (m / m.max() if m.max() > 0 else m for m in maps)
    mask = torch.zeros_like(true)
    for i, j in itertools.product(*map(range, true.shape)):
        mask[i, j] = 1 / (1 + torch.exp(-100 * (true[i, j] - 0.55 * true.max())))
    inner_mask = resized(mask, inner.shape).float()

    def overlap(a, b, where):
        both = sum((min(a[i, j], b[i, j]) * where[i, j]).item() for i, j in itertools.product(*map(range, a.shape)))
        return 2 * both / (a + b).sum().item() if (a + b).sum() > 0 else 0.0

    consistent = (inner * inner_mask).sum() / inner.sum() if inner.sum() > 0 else torch.tensor(0.0)
    return overlap(true, confusing, mask), overlap(inner, inner_confusing, inner_mask), consistent.item()


def agreement(inner, last):
    """Of the two layers' maps of a class: Spearman's correlation, and intersection over union above the half."""
    large = resized(last, inner.shape)
    if inner.max() == inner.min() or last.max() == last.min():
        return math.nan, math.nan
    above = inner.double() >= inner.max() / 2, large.float() >= large.float().max() / 2
    rank = spearmanr(inner.double().flatten().numpy(), large.float().flatten().numpy()).statistic
    return rank, (above[0] & above[1]).sum().item() / (above[0] | above[1]).sum().item()


def on_object(attention, mask):
    """Share inside, whether the maximum is on the object, and intersection over union above a fifth."""
    large = resized(attention, mask.shape)
    if large.sum() == 0:
        return math.nan, math.nan, math.nan
    row, column = divmod(large.argmax().item(), mask.shape[1])
    above = large.float() >= 0.2 * large.float().max()
    inside = (large * mask).sum().item() / large.sum().item()
    return inside, float(mask[row, column]), (above & mask).sum().item() / (above | mask).sum().item()


def naive(model, split, pixels):
    """For each (image, true class) a row of values; for each object one, with its map's levels pixel by pixel."""
    of_classes, of_objects, pixel_levels = [], [], []
    for index in range(len(split)):
        features, logits = features_and_logits(model, pixels.normalize(split.images[index : index + 1]))
        target = split.targets[index]
        true = [int(target)] if target.ndim == 0 else target.nonzero().flatten().tolist()
        wrong = [label for label in range(10) if label not in true]
        confusing = max(wrong, key=lambda label: logits[0, label].item()) if wrong else None
        maps = {
            (layer, label): grad_cam(features, logits, label, layer).detach()
            for layer in LAYERS
            for label in [*true, *([] if confusing is None else [confusing])]
        }
        for label in true if wrong else []:
            inner, last = maps["stage2", label], maps["stage3", label]
            values = shares(last, maps["stage3", confusing], inner, maps["stage2", confusing])
            taken = logits[0, confusing] > logits[0, label]
            row = dict(zip(OF_CLASSES, (*values, *agreement(inner, last)), strict=True))
            of_classes.append({"image": index, "pair": (label, confusing) if taken else None} | row)
        for label, mask in split.marks.of(index):
            if label in true:
                attention = maps["stage3", label]
                row = dict(zip(OF_OBJECTS, on_object(attention, mask), strict=True))
                of_objects.append({"image": index, "label": label, "share": mask.float().mean().item()} | row)
                large = resized(attention, mask.shape).float()
                span = large.max() - large.min()
                levels = ((large - large.min()) / span * 1000).long() if span > 0 else torch.zeros_like(large)
                pixel_levels.append((mask.flatten(), levels.flatten()))
    return of_classes, of_objects, pixel_levels


def mean(rows, name):
    values = [row[name] for row in rows if not math.isnan(row[name])]
    return sum(values) / len(values) if values else math.nan


@pytest.mark.parametrize("labels", ["one", "several"])
def test_everything_image_by_image(labels, model, split, several, data):
    split = split if labels == "one" else several
    of_classes, of_objects, pixel_levels = naive(model, split, data.pixels)
    objects, levels = (torch.cat(parts).numpy() for parts in zip(*pixel_levels, strict=True))
    expected = {name: mean(of_classes, name) for name in OF_CLASSES}
    expected |= {name: mean(of_objects, name) for name in OF_OBJECTS}
    expected["no_attention"] = sum(math.isnan(row["attention_inside"]) for row in of_objects) / len(of_objects)
    expected["pixel_ap"] = average_precision_score(objects, levels)
    found = measure(model, split, data.pixels)
    assert found.values.keys() == expected.keys()
    for name, value in expected.items():
        assert found.values[name] == pytest.approx(value, abs=CLOSE[name]), name
    assert 0 < found.values["overlap_last"] < 1
    assert 0 < found.values["attention_inside"] < 1

    assert found.per_image.keys() == {*OF_CLASSES, *OF_OBJECTS}
    for rows, names in ((of_classes, OF_CLASSES), (of_objects, OF_OBJECTS)):
        for name in names:
            column = [mean([row for row in rows if row["image"] == i], name) for i in range(len(split))]
            assert found.per_image[name].tolist() == pytest.approx(column, abs=CLOSE[name], nan_ok=True)

    by_class, by_size = found.tables["per_class"], found.tables["by_size"]
    classes = [[row for row in of_objects if row["label"] == label] for label in range(10)]
    edges = [0, *by_size["edges"], 1.1]
    sizes = [[r for r in of_objects if low <= r["share"] < high] for low, high in itertools.pairwise(edges)]
    for table, groups in ((by_class, classes), (by_size, sizes)):
        assert table["objects"] == [len(rows) for rows in groups]
        for name in OF_OBJECTS:
            means = [math.nan if value is None else value for value in table[name]]
            assert means == pytest.approx([mean(rows, name) for rows in groups], abs=CLOSE[name], nan_ok=True)

    pairs = {}
    for row in of_classes:
        if row["pair"] is not None:
            pairs.setdefault(row["pair"], []).append(row["overlap_last"])
    images = [int((split.targets == c).sum() if labels == "one" else split.targets[:, c].sum()) for c in range(10)]
    assert len(pairs) == len(found.tables["confused_pairs"]) > 2
    for row in found.tables["confused_pairs"]:
        overlaps = pairs[tuple(row["classes"])]
        assert (row["count"], row["images"]) == (len(overlaps), images[row["classes"][0]])
        assert row["overlap"] == pytest.approx(sum(overlaps) / len(overlaps), abs=2e-5)
        assert (row["true"], row["taken"]) == tuple(map(str, row["classes"]))


# Options ---------------------------------------------------------------------------------------------------------


def test_layers_and_mechanism_are_those_asked_for(model, split, data):
    plain = measure(model, split, data.pixels).values
    assert measure(model, split, data.pixels, layers=LAYERS, mechanism="grad_cam").values == plain
    other = measure(model, split, data.pixels, layers=("stage1", "stage3")).values
    assert other["overlap_last"] == plain["overlap_last"]
    assert other["overlap_inner"] != pytest.approx(plain["overlap_inner"], abs=1e-4)
    absolute = measure(
        model,
        split,
        data.pixels,
        mechanism=lambda features, gradients: (features.unsqueeze(1) * gradients.abs()).sum(2),
    ).values
    assert absolute["attention_inside"] != pytest.approx(plain["attention_inside"], abs=1e-4)


def test_a_mechanism_in_the_images_pixels(model, split, data):
    found = measure(model, split, data.pixels, mechanism="occlusion:14").values
    assert found["overlap_inner"] == pytest.approx(found["overlap_last"])
    assert found["rank_agreement"] == pytest.approx(1.0)
    inside = []
    for index in range(4):
        image, target = data.pixels.normalize(split.images[[index]]), split.targets[index]
        ((label, mask),) = split.marks.of(index)
        assert label == target
        maps = attend(model, image, target[None], mechanism="occlusion:14").maps["image"]
        inside.append(float((maps[0, 0] * mask).sum() / maps.sum()))
    few = measure(model, split.taken(range(4)), data.pixels, mechanism="occlusion:14")
    assert few.values["attention_inside"] == pytest.approx(sum(inside) / 4, rel=1e-4)


def test_one_map_of_a_transformer_whatever_the_layers(split, data):
    size = data.pixels.size[0]
    small = {"img_size": size, "patch_size": size // 4, "depth": 4, "embed_dim": 48, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=10, **small).eval()
    few = split.taken(range(4))
    found = measure(network, few, data.pixels, mechanism="gradient_rollout")
    assert found.values["overlap_inner"] == pytest.approx(found.values["overlap_last"])
    inside = []
    for index in range(4):
        image = data.pixels.normalize(few.images[[index]])
        ((label, mask),) = few.marks.of(index)
        maps = attend(network, image, torch.tensor([[label]]), mechanism="gradient_rollout").maps["blocks.0"]
        resized = F.interpolate(maps, (size, size), mode="bilinear")[0, 0]
        inside.append(float((resized * mask).sum() / resized.sum()))
    assert found.values["attention_inside"] == pytest.approx(sum(inside) / 4, rel=1e-4)


# A network that knows where it looks -----------------------------------------------------------------------------


class Rigged(nn.Module):
    """Class c looks at the c-th quarter of the image, class 3 nowhere."""

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
    split = replace(data.splits["val"], images=images, targets=targets, marks=Marks(range(4), range(4), masks))
    return split, pixels


def test_known_answers(rigged):
    split, pixels = rigged
    found = measure(Rigged().eval(), split, pixels, layers=("inner", "last"))
    blurred = F.interpolate(F.pad(torch.ones(1, 1, 4, 4), (0, 4, 0, 4)), (16, 16), mode="bilinear")[0, 0]
    outwards = F.interpolate(F.pad(torch.ones(1, 1, 4, 4), (4, 0, 0, 4)), (16, 16), mode="bilinear")[0, 0]
    inside = (blurred[:8, :8].sum() / blurred.sum()).item()
    into_the_bottom = (outwards[8:].sum() / outwards.sum()).item()  # resizing carries some of it over the edge
    beside = F.interpolate(F.pad(torch.ones(1, 1, 4, 4), (0, 4, 4, 0)), (16, 16), mode="bilinear")[0, 0]
    around = (beside[:, :8].sum() / beside.sum()).item()
    shares = [inside, into_the_bottom, around, math.nan]
    assert found.per_image["attention_inside"].tolist() == pytest.approx(shares, abs=1e-5, nan_ok=True)
    assert found.values["attention_inside"] == pytest.approx(sum(shares[:3]) / 3, abs=1e-5)
    assert found.values["pointing_game"] == pytest.approx(2 / 3)
    assert found.values["no_attention"] == 0.25  # class 3, the one that is looked for nowhere, and left out above
    assert found.values["overlap_last"] == pytest.approx(0, abs=1e-6)
    assert found.values["overlap_inner"] == pytest.approx(0, abs=1e-6)
    assert found.tables["by_size"]["objects"] == [0, 0, 4]
    pairs = {(row["true"], row["taken"]): row["count"] for row in found.tables["confused_pairs"]}
    assert pairs == {("0", "2"): 1, ("1", "2"): 1, ("3", "2"): 1}  # class 2 is brightest in every image


def test_a_network_that_looks_nowhere(rigged):
    split, pixels = rigged
    model = Rigged().eval()
    nn.init.zeros_(model.fc.weight)
    found = measure(model, split, pixels, layers=("inner", "last"))
    assert found.values["no_attention"] == 1
    assert found.values.keys() & {"attention_inside", "pointing_game", "map_iou", "rank_agreement"} == set()
    assert "attention_inside" not in found.per_image
    assert [found.values[name] for name in ("overlap_last", "overlap_inner", "consistency")] == [0, 0, 0]


def test_masks_of_other_classes_are_not_asked_about(rigged):
    split, pixels = rigged
    pairs = Marks([0, 0, 1], [0, 1, 2], split.marks.masks[:3])
    found = measure(Rigged().eval(), replace(split, marks=pairs), pixels, layers=("inner", "last"))
    only = Marks([0], [0], split.marks.masks[:1])
    alone = measure(Rigged().eval(), replace(split, marks=only), pixels, layers=("inner", "last"))
    assert found.values["attention_inside"] == alone.values["attention_inside"]
    assert found.tables["per_class"]["objects"] == alone.tables["per_class"]["objects"] == [1, 0, 0, 0]


def test_without_masks_nothing_is_made_up(model, split, data):
    found = measure(model, replace(split, marks=None), data.pixels)
    assert found.values.keys() == set(OF_CLASSES) == found.per_image.keys()
    assert found.tables.keys() == {"classes", "confused_pairs"}
    empty = measure(model, replace(split, marks=split.marks.restricted([])), data.pixels)
    assert empty.values == found.values
    assert empty.tables == found.tables


def test_masks_of_some_images(model, split, data):
    some = replace(split, marks=split.marks.restricted([20, 5]))  # no mask in the first batch
    whole, found = (measure(model, each, data.pixels, batch_size=4) for each in (split, some))
    column = found.per_image["attention_inside"]
    assert column[[5, 20]].tolist() == whole.per_image["attention_inside"][[5, 20]].tolist()
    assert column.isnan().sum() == len(split) - 2
