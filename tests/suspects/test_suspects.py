import csv
import json
import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.metrics import homogeneity_score, roc_auc_score
from torch import nn
from torch.nn import functional as F

from looksharp import cli
from looksharp.attention.attend import attend
from looksharp.data.folder import read_folder
from looksharp.data.hold_out import hold_out
from looksharp.data.marked import choose_marked
from looksharp.data.sets.synthetic import PALETTE, biased_digits, digits
from looksharp.data.split import Pixels
from looksharp.data.transform import image_transform
from looksharp.marks.reading import read_marks
from looksharp.networks import SmallNet
from looksharp.suspects import suspects, write_suspects
from looksharp.suspects.choosing import cluster, recurrence
from looksharp.suspects.patches import attended_patches
from looksharp.training import Run
from looksharp.training.settings import MarksConfig, RunConfig

COLOURS = torch.from_numpy((PALETTE * 255).round()).to(torch.uint8)


class Likeness(nn.Module):
    """How like each of the palette's colours a cell of 4 x 4 pixels is."""

    def forward(self, images):
        cells = F.avg_pool2d(images, 4)  # (B, 3, h, w)
        distance = (cells.unsqueeze(1) - (torch.from_numpy(PALETTE)[:, :, None, None] - 0.4) / 0.25).square().sum(2)
        return torch.exp(-6 * distance)


class CueReader(nn.Module):
    """Reads nothing but the patch's colour: the evidence for a class is how much of its colours there is."""

    def __init__(self, colours_a_class=1):
        super().__init__()
        self.cells, self.pool = Likeness(), nn.AdaptiveAvgPool2d(1)
        classes = 10 // colours_a_class
        self.fc = nn.Linear(10, classes)
        self.fc.weight.data = torch.eye(classes).repeat_interleave(colours_a_class, 1)

    def forward(self, images):
        return self.fc(self.pool(self.cells(images)).flatten(1))


def where_cues_are(images):
    """(N, 48, 48) the patches, found as the 8 x 8 px of exactly one colour of the palette, and that colour (N,)."""
    exact = (images.unsqueeze(1) == COLOURS[:, :, None, None]).all(2)  # (N, 10, 48, 48)
    corners = F.avg_pool2d(exact.float(), 8, 1) == 1  # (N, 10, 41, 41)
    assert (corners.sum((1, 2, 3)) == 1).all()
    sample, colour, row, column = corners.nonzero(as_tuple=True)
    masks = torch.zeros(len(images), 48, 48)
    for n, top, left in zip(sample.tolist(), row.tolist(), column.tolist(), strict=True):
        masks[n, top : top + 8, left : left + 8] = 1
    return masks, colour


def on_cue(found, masks):
    """For each suspect whether its attended patch overlaps the cue; and how often a position at random would."""
    hits, chances = [], []
    for suspect in found.chosen:
        covered = F.adaptive_max_pool2d(masks[suspect.index][None], suspect.patch.shape)[0] > 0
        hits.append(bool((covered & suspect.patch).any()))
        chances.append(covered.double().mean().item())
    return np.mean(hits), np.mean(chances)


@pytest.fixture(scope="module")
def biased():
    return biased_digits(0.95, 400, 1, 1, seed=0)


def search(model, data, n=32, **options):
    return suspects(model.eval(), data, n, layer=options.pop("layer", "cells"), progress=False, **options)


# What is found ---------------------------------------------------------------------------------------------------


def test_a_reader_of_the_cue_is_caught(biased):
    masks, _ = where_cues_are(biased.splits["train"].images)
    found = search(CueReader(), biased)
    hit, chance = on_cue(found, masks)
    assert chance < 0.07
    assert hit == 1
    assert {suspect.label for suspect in found.chosen} == set(range(10))
    for suspect in found.chosen:
        assert suspect.label == int(biased.splits["train"].targets[suspect.index])
        assert suspect.patch.sum() == 1


def test_a_trained_classifier_is_caught():
    data = biased_digits(1.0, 400, 1, 1, seed=1)
    split = data.splits["train"]
    torch.manual_seed(1)
    model, images = SmallNet(10, width=16), data.pixels.normalize(split.images)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for step in range(192):  # twelve times through all images
        chosen = torch.arange(step * 25, step * 25 + 25) % len(images)
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen]), split.targets[chosen]).backward()
        optimizer.step()
    masks, _ = where_cues_are(split.images)
    hit, chance = on_cue(search(model, data, n=16, layer=None), masks)
    assert chance < 0.1
    assert hit > 0.6


def test_clusters_are_of_one_cue_not_of_one_class(biased):
    split = biased.splits["train"]
    train = replace(split, targets=split.targets // 2)  # two digits a class, so that each class has two cues
    data = replace(biased, classes=tuple("abcde"), splits={"train": train})
    _, colour = where_cues_are(split.images)
    found = search(CueReader(2), data, n=10)
    agrees = colour[found.index] // 2 == found.label
    assert agrees.double().mean() > 0.9
    assert homogeneity_score(colour[found.index][agrees], found.cluster[agrees]) > 0.95
    assert len(found.sizes) == 10
    assert {int(colour[suspect.index]) for suspect in found.chosen} == set(range(10))


def test_images_without_the_cue_rank_below(biased):
    split = biased.splits["train"]
    masks, colour = where_cues_are(split.images)
    bare = torch.arange(len(split)) % 2 == 1
    painted = torch.where((masks > 0)[:, None] & bare[:, None, None, None], 128, split.images)
    found = search(CueReader(), replace(biased, splits={"train": replace(split, images=painted)}))
    shown = ~bare[found.index] & (colour == split.targets)[found.index]
    assert roc_auc_score(shown, found.score) > 0.95
    assert not any(bare[suspect.index] for suspect in found.chosen)


def test_the_seed_determines_all(biased):
    def chosen(**options):
        found = search(CueReader(), biased, n=16, **options)
        return [(s.index, s.cluster, s.score, s.share) for s in found.chosen]

    assert chosen(seed=3) == chosen(seed=3)
    assert chosen(most=100, seed=3) != chosen(most=100, seed=4)
    (rows, first), (same, second) = (
        ([row[:2] for row in found], [value for row in found for value in row[2:]])
        for found in (chosen(batch_size=7), chosen(batch_size=400))
    )
    assert rows == same
    assert first == pytest.approx(second, rel=1e-4)


def test_no_more_images_than_asked_are_looked_at(biased):
    found = search(CueReader(), biased, n=4, most=50)
    assert len(found.index) == 50
    assert len(found.index.unique()) == 50


def test_a_run_is_read_with_its_own_pixels(biased):
    run = Run(None, RunConfig(), CueReader().eval(), biased.classes, biased.pixels, False, 0.0)
    other = replace(biased, pixels=Pixels((48, 48)))
    mine = suspects(run, other, 8, layer="cells", progress=False)
    assert [s.index for s in mine.chosen] == [s.index for s in search(run.model, biased, n=8).chosen]


# The score -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "mechanism"), [(None, "grad_cam"), ("stage2", "layer_cam")])
def test_score_and_share_image_by_image(layer, mechanism):
    torch.manual_seed(0)
    data, model = digits(40, 1, 1), SmallNet(10, width=8).eval()
    split = data.splits["train"]
    found = search(model, data, n=6, layer=layer, mechanism=mechanism)
    assert found.layer == (layer or "stage3")
    rows = {}
    for index in range(len(split)):
        image, label = data.pixels.normalize(split.images[index])[None], split.targets[index : index + 1]
        parts = {}
        hook = model.get_submodule(found.layer).register_forward_hook(
            lambda m, a, out, parts=parts: parts.update(x=out)
        )
        evidence = attend(model, image, label, layers=[found.layer], mechanism=mechanism, signed=True).maps[found.layer]
        hook.remove()
        values = evidence[0, 0].tolist()
        flat = [v for row in values for v in row]
        if max(flat) <= 0:
            continue
        row, column = divmod(flat.index(max(flat)), len(values[0]))
        feature = parts["x"][0, :, row, column].tolist()
        length = math.sqrt(sum(v * v for v in feature))
        rows[index] = (max(flat) / sum(map(abs, flat)), (row, column), [v / length for v in feature])
    assert found.index.tolist() == list(rows)
    for place, index in enumerate(rows):
        mine = (int(found.cluster[place]), int(found.label[place]))
        alike, size = 0.0, 0
        for other, number in enumerate(rows):
            if int(found.cluster[other]) == mine[0]:
                size += 1
                if other != place and int(found.label[other]) == mine[1]:
                    alike += sum(a * b for a, b in zip(rows[index][2], rows[number][2], strict=True))
        assert float(found.score[place]) == pytest.approx(rows[index][0] * alike / size, abs=1e-5)
    for suspect in found.chosen:
        share, position, _ = rows[suspect.index]
        assert suspect.share == pytest.approx(share, rel=1e-4)
        assert suspect.patch.nonzero().tolist() == [list(position)]
        assert suspect.score == pytest.approx(float(found.score[found.index == suspect.index]))


def test_a_mechanism_that_runs_the_model_shows_patches_on_the_layers_grid(biased):
    found = search(CueReader().eval(), biased, n=8, layer="cells", mechanism="occlusion:window=4,stride=4")
    covered = on_cue(found, where_cues_are(biased.splits["train"].images)[0])
    assert covered[0] == 1
    assert found.chosen[0].patch.shape == (12, 12)
    assert len(search(CueReader().eval(), biased, n=8, layer="cells", mechanism="eigen_cam").chosen) == 8


def test_the_one_map_of_a_transformer_shows_patches_on_the_layers_grid(biased):
    size = biased.pixels.size[0]
    small = {"img_size": size, "patch_size": size // 4, "depth": 2, "embed_dim": 12, "num_heads": 2}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=10, **small).eval()
    found = search(network, biased, n=4, layer="blocks.0", mechanism="legrad")
    assert len(found.chosen) == 4
    assert found.chosen[0].patch.shape == (4, 4)
    index = found.chosen[0].index
    split = biased.splits["train"]
    image, label = biased.pixels.normalize(split.images[[index]]), split.targets[index]
    (maps,) = attend(network, image, label[None], mechanism="legrad").maps.values()
    assert found.chosen[0].share == pytest.approx(float(maps.max() / maps.sum()), rel=1e-3)
    assert found.chosen[0].patch.int().flatten().argmax() == maps.flatten().argmax()


def test_the_default_follows_attention_in_a_transformer_and_reads_features_elsewhere(biased):
    split, images = biased.splits["train"], list(range(6))
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=48, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=10
    )
    layers = {None: "gradient_rollout", "blocks.1.norm1": "grad_cam"}
    for net, expected in (
        (vit.eval(), layers),
        (SmallNet(10, width=8).eval(), {None: "recipro_cam", "stage2": "grad_cam"}),
    ):
        for layer, mechanism in expected.items():
            options = {"layer": layer, "progress": False}
            found = attended_patches(net, split, biased.pixels, images, **options)
            same = attended_patches(net, split, biased.pixels, images, mechanism=mechanism, **options)
            assert torch.equal(found.position, same.position)
            assert torch.equal(found.share, same.share)
    own, other = (
        attended_patches(vit, split, biased.pixels, images, mechanism=name, progress=False).share
        for name in ("gradient_rollout", "grad_cam")
    )
    assert own.shape != other.shape or not torch.equal(own, other)


def test_recurrence_of_what_is_the_same_alone_or_anothers():
    east, north = [1.0, 0.0], [0.0, 1.0]
    features = torch.tensor([east, east, north, east, east, [-1.0, 0.0]])
    clusters, labels = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([4, 4, 4, 4, 7, 7])
    assert recurrence(features, clusters, labels).tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0, 0, 0])
    assert recurrence(features, clusters, torch.arange(6)).tolist() == [0] * 6


def test_clusters_of_directions_that_are_apart():
    torch.manual_seed(0)
    truth = torch.arange(60) % 4
    features = F.normalize(torch.eye(4, 6)[truth] + 0.1 * torch.rand(60, 6), dim=1)
    found = cluster(features, 4, seed=0)
    assert set(found.tolist()) == {0, 1, 2, 3}
    assert homogeneity_score(truth, found) == pytest.approx(1)
    same = cluster(torch.ones(5, 3), 4, seed=0)  # nothing to tell apart: one cluster, and no warning
    assert same.tolist() == [0] * 5


def test_places_are_spread_over_cues_and_classes(biased):
    found = search(CueReader(), biased, n=40)
    totals = [float(found.score[found.cluster == number].sum()) for number in found.sizes]
    assert totals == sorted(totals, reverse=True)
    assert found.sizes == Counter(found.cluster.tolist())
    assert list(found.sizes) == list(range(1, len(found.sizes) + 1))
    rows = list(zip(found.cluster.tolist(), found.label.tolist(), found.score.tolist(), strict=True))
    left, cues, classes = {}, Counter(), Counter()
    for number, label, score in rows:
        left.setdefault((number, label), []).append(score)
    evidence = {cue: sum(scores) for cue, scores in left.items()}
    for suspect in found.chosen:
        values = {
            cue: evidence[cue] / (1 + cues[cue[0]]) / (1 + classes[cue[1]]) for cue, scores in left.items() if scores
        }
        cue = (suspect.cluster, suspect.label)
        assert values[cue] == pytest.approx(max(values.values()), rel=1e-4)
        assert suspect.score == pytest.approx(max(left[cue]))
        left[cue].remove(max(left[cue]))
        cues[suspect.cluster] += 1
        classes[suspect.label] += 1
    assert min(suspect.score for suspect in found.chosen) > 0  # what does not recur has to wait
    assert {suspect.label for suspect in found.chosen} == set(range(10))


def with_next_class(data):
    """The training images, each of the next class too; but five are of none and have nothing to look at."""
    split = data.splits["train"]
    several = F.one_hot(split.targets, 10) | F.one_hot((split.targets + 1) % 10, 10)
    several[:5] = 0
    return replace(data, splits={"train": replace(split, targets=several)})


def test_several_labels_an_image_is_chosen_once(biased):
    found = search(CueReader(), with_next_class(biased), n=395)
    assert sorted(s.index for s in found.chosen) == list(range(5, 400))
    assert found.index.bincount().tolist() == [0] * 5 + [2] * 395


def test_of_several_labels_that_of_the_cue_is_chosen():
    follows = []
    for seed in range(5):
        data = with_next_class(biased_digits(0.95, 400, 1, 1, seed=seed))
        split = data.splits["train"]
        _, colour = where_cues_are(split.images)
        best = search(CueReader(), data, n=20)
        assert all(split.targets[s.index, s.label] for s in best.chosen)
        follows += [s.label == int(colour[s.index]) for s in best.chosen]
    assert np.mean(follows) >= 0.9


def test_numbers_of_images_that_cannot_be(biased):
    with pytest.raises(ValueError, match=r"^n must be 1 to 400, the training images of biased_digits, .*; got 0$"):
        search(CueReader(), biased, n=0)
    with pytest.raises(ValueError, match=r"; got 401$"):
        search(CueReader(), biased, n=401)
    model = CueReader()
    model.fc.weight.data.neg_()
    with pytest.raises(ValueError, match=r"^n must be at most 0, the training images with evidence .*; got 8$"):
        search(model, biased, n=8)


# What is written -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in {"train": 5, "val": 1}.items():
        for name in ("cat", "dog"):
            for number in range(count):
                path = tmp_path / "images" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                side = 30 + 2 * number  # wide, and of several sizes
                Image.fromarray(rng.integers(0, 255, (side, 48, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def test_an_annotation_file_that_is_filled_in_guides(folder, tmp_path):
    data, out = hold_out(read_folder(folder, size=32)), tmp_path / "out"
    torch.manual_seed(0)
    found = search(SmallNet(2, width=8), data, n=4, layer=None)
    written = write_suspects(found, data, out)
    assert written == [out / name for name in ("contact_sheet.png", "annotations.json", "suspects.csv")]
    path = out / "annotations.json"
    content = json.loads(path.read_text())
    split = data.splits["train"]
    assert content["annotations"] == []
    assert [category["name"] for category in content["categories"]] == ["cat", "dog"]
    for suspect, image in zip(found.chosen, content["images"], strict=True):
        assert image["file_name"] == split.paths[suspect.index]
        with Image.open(split.root / image["file_name"]) as opened:
            assert opened.size == (image["width"], image["height"])
    with pytest.raises(ValueError, match=r"holds no mark that can be used \(it is empty\)"):
        choose_marked(data, MarksConfig(str(path)), 0)
    for number, (suspect, image) in enumerate(zip(found.chosen, content["images"], strict=True)):
        box = [number + 1, 2, 10, 20]  # left, top, width, height
        entry = {"id": number, "image_id": image["id"], "category_id": suspect.label + 1, "bbox": box, "iscrowd": 0}
        content["annotations"].append(entry)
    path.write_text(json.dumps(content))
    marks = choose_marked(data, MarksConfig(str(path)), 0).splits["train"].marks
    assert marks.images == sorted(suspect.index for suspect in found.chosen)
    for number, suspect in enumerate(found.chosen):
        ((label, mask),) = marks.of(suspect.index)
        expected = torch.zeros(split.image(suspect.index).shape[1:], dtype=torch.bool)
        expected[2:22, number + 1 : number + 11] = True
        assert label == suspect.label
        assert torch.equal(mask, expected)


def test_images_in_memory_are_written_too(biased, tmp_path):
    found = search(CueReader(), biased, n=6)
    written = write_suspects(found, biased, tmp_path)
    assert written[-1] == tmp_path / "images"
    content = json.loads((tmp_path / "annotations.json").read_text())
    names = [image["file_name"] for image in content["images"]]
    assert sorted(names) == sorted(f"images/{path.name}" for path in (tmp_path / "images").iterdir())
    for suspect, name in zip(found.chosen, names, strict=True):
        assert int(re.fullmatch(r"images/(\d{6})\.png", name)[1]) == suspect.index
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(np.asarray(image), biased.splits["train"].images[suspect.index].permute(1, 2, 0))
    content["annotations"] = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 48, 48]}]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    read = read_marks(tmp_path / "annotations.json", dict.fromkeys(names, (48, 48)), biased.classes)
    assert [(a.image, a.label, a.mask.all()) for a in read.marks] == [(names[0], "0", True)]


def test_boxes_that_somebody_drew_are_still_there_after_another_search(biased, tmp_path):
    write_suspects(search(CueReader(), biased, n=6), biased, tmp_path)
    path = tmp_path / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"] = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 48, 48]}]
    path.write_text(json.dumps(content))
    found = search(CueReader(), biased, n=12)
    write_suspects(found, biased, tmp_path)
    again = json.loads(path.read_text())
    assert again["annotations"] == content["annotations"]
    assert again["images"][:6] == content["images"]
    named = {image["file_name"] for image in again["images"]}
    assert {f"images/{suspect.index:06d}.png" for suspect in found.chosen} <= named
    path.write_text("half a fi")
    with pytest.raises(ValueError, match="it would be overwritten"):
        write_suspects(found, biased, tmp_path)
    assert path.read_text() == "half a fi"


def test_the_table_ranks_the_images(biased, tmp_path):
    found = search(CueReader(), biased, n=6)
    write_suspects(found, biased, tmp_path)
    with (tmp_path / "suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    for row, suspect in zip(rows, found.chosen, strict=True):
        assert (int(row["index"]), int(row["cluster"])) == (suspect.index, suspect.cluster)
        assert row["class"] == biased.classes[suspect.label]
        assert row["file"] == f"images/{suspect.index:06d}.png"
        assert float(row["score"]) == pytest.approx(suspect.score, abs=5e-5)
        assert float(row["share"]) == pytest.approx(suspect.share, abs=5e-5)


def test_the_sheet_shows_the_chosen_by_cluster(biased, tmp_path, monkeypatch):
    from looksharp.suspects import writing

    drawn = []
    monkeypatch.setattr(writing, "contact_sheet", lambda groups, path: drawn.append(groups))
    found = search(CueReader(), biased, n=30)
    write_suspects(found, biased, tmp_path)
    (groups,) = drawn
    members = {n: [s for s in found.chosen if s.cluster == n] for n in found.sizes}
    ranks = {suspect.index: rank for rank, suspect in enumerate(found.chosen, 1)}
    for (number, size), (heading, tiles) in zip(found.sizes.items(), groups, strict=True):
        labels = found.label[found.cluster == number].bincount()
        pure = labels.max().item() / size
        assert heading == f"Group {number}: {size} images, {pure:.0%} {biased.classes[int(labels.argmax())]}"
        for suspect, tile in zip(members[number], tiles, strict=True):
            assert tile.title == f"{ranks[suspect.index]}. {biased.classes[suspect.label]}"
            assert tile.caption == f"{suspect.share:.0%} of the evidence, score {suspect.score:.2f}"
            assert torch.equal(tile.outline, suspect.patch)
            assert torch.equal(tile.image, biased.splits["train"].images[suspect.index] / 255)


def test_the_sheet_shows_images_as_the_network_saw_them(folder, tmp_path, monkeypatch):
    from looksharp.suspects import writing

    drawn = []
    monkeypatch.setattr(writing, "contact_sheet", lambda groups, path: drawn.extend(groups))
    data, pixels = hold_out(read_folder(folder, size=32)), Pixels((24, 40))
    found = search(SmallNet(2, width=8), data, n=1, layer=None)
    write_suspects(found, data, tmp_path, pixels)
    (tile,) = (tile for _, tiles in drawn for tile in tiles)
    seen = image_transform(pixels)(data.splits["train"].image(found.chosen[0].index))
    assert torch.equal(tile.image, seen.as_subclass(torch.Tensor) / 255)


# The command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("command")
    rng = np.random.default_rng(0)
    for place, name in enumerate(("blue", "green", "red")):
        (root / "colours" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 90, (24, 24, 3), dtype=np.uint8)
            pixels[..., 2 - place] += 150
            Image.fromarray(pixels).save(root / "colours" / name / f"{number}.png")
    quick = ("--device", "cpu", "--epochs", "1", "--batch_size", "8", "--workers", "0")
    arguments = ["train", "--data", str(root / "colours"), "--out", str(root / "run"), *quick]
    assert cli.main(arguments) == 0
    return root / "run"


def command(*arguments):
    return cli.main(["suspects", *map(str, arguments), "--device", "cpu", "--workers", "0"])


def test_the_command_says_what_it_wrote(run, tmp_path, capfd):
    capfd.readouterr()
    assert command(run, "-n", 5, "--layer", "stage2", "--batch_size", 4, "--out", tmp_path / "out") == 0
    names = ("contact_sheet.png", "annotations.json", "suspects.csv", "groups.json", "index.html")
    files = [tmp_path / "out" / name for name in names]
    assert capfd.readouterr().out.splitlines() == [str(path) for path in files]
    with Image.open(files[0]) as picture:
        picture.verify()
    assert len(json.loads(files[1].read_text())["images"]) == 5
    assert len(list((tmp_path / "out" / "regions").iterdir())) == 1  # kept, in case that it is killed


def test_errors_of_the_command_are_one_line(run, tmp_path, capfd):
    def fails(*arguments):
        capfd.readouterr()
        assert command(*arguments, "--out", tmp_path / "out") == 2
        *progress, line = capfd.readouterr().err.replace("\r", "\n").splitlines()
        assert all(part.startswith("looking") or not part.strip() for part in progress)
        assert line.startswith("looksharp: error: ")
        return line.removeprefix("looksharp: error: ")

    assert "n must be 1 to 24, the training images of" in fails(run, "-n", 0)
    assert "is not a run folder" in fails(tmp_path)
    assert "layer" in fails(run, "-n", 2, "--layer", "stage9")
    assert "mechanism 'guess' is not known" in fails(run, "--mechanism", "guess")
    for name in ("sea", "sky"):
        (tmp_path / "other" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (24, 24)).save(tmp_path / "other" / name / f"{number}.png")
    assert fails(run, "--data", tmp_path / "other") == (
        f"data {tmp_path / 'other'} has other classes than the run: 2, first 'sea', and not 3, first 'blue'; "
        "map them by --class_map FILE"
    )
    assert not (tmp_path / "out").exists()
