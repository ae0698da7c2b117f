import numpy as np
import pytest
import torch
from torch import nn

from looksharp.attention.attend import attend
from looksharp.attention.stages import last_stages
from looksharp.comparison.projection import penultimate_features, project
from looksharp.comparison.scenes import changed_scenes, confused_scenes, layer_scenes, most_changed, spread
from looksharp.data.sets.synthetic import digits
from looksharp.data.splits.memory import TensorSplit
from looksharp.networks import SmallNet
from looksharp.training import Run
from looksharp.training.settings import RunConfig

DATA = digits(train=1, val=1, test=24)
SPLIT = DATA.splits["test"]


def make_run(seed, multilabel=False):
    torch.manual_seed(seed)
    model = SmallNet(10).eval()
    nn.init.normal_(model.fc.weight, std=3.0)
    return Run(None, RunConfig(), model, DATA.classes, DATA.pixels, multilabel, 0.0)


@pytest.fixture(scope="module")
def runs():
    return {"plain": make_run(0), "sharp": make_run(1)}


def logits(run, images):
    with torch.no_grad():
        return run.model(DATA.pixels.normalize(SPLIT.images[images]))


def test_spread():
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 500) == [0, 1, 2]
    assert spread(9, 1) == [0]


def test_most_changed_is_a_sort():
    generator = torch.Generator().manual_seed(0)
    first, other = torch.rand(2, 50, generator=generator)
    first[7] = torch.nan
    change = np.nan_to_num((other - first).numpy())
    better, worse = most_changed(first, other, 5)
    assert better == np.argsort(-change)[:5].tolist()
    assert worse == np.argsort(change)[:5].tolist()
    assert most_changed(first, first, 5) == ([], [])


def test_the_five_highest_classes_and_the_true_one_framed(runs):
    images = {3: "improved-1", 0: "harmed-1", 11: "harmed-1"}
    scenes = changed_scenes(SPLIT, images, runs)
    assert [scene.name for scene in scenes] == ["improved-1-3", "harmed-1-0", "harmed-1-11"]
    seen = set()
    for scene, image in zip(scenes, images, strict=True):
        target = int(SPLIT.targets[image])
        odds = {name: logits(run, [image]).softmax(1)[0] for name, run in runs.items()}
        told = " → ".join(f"{odds[name][target]:.0%}" for name in runs)
        assert scene.title == f"{target} (image {image}): {told}"
        torch.testing.assert_close(scene.image, SPLIT.images[image].float() / 255, atol=1e-6, rtol=0)
        torch.testing.assert_close(scene.outline, SPLIT.marks.of(image)[0][1])
        for name, run in runs.items():
            ranked = odds[name].argsort(descending=True).tolist()
            shown = ranked[:5] if target in ranked[:5] else [*ranked[:5], target]
            seen.add(len(shown))
            panels = scene.rows[name]
            assert [panel.title for panel in panels] == [f"{index} {odds[name][index]:.0%}" for index in shown]
            assert [panel.emphasis for panel in panels] == [index == target for index in shown]
            captions = [panel.caption for panel in panels if panel.emphasis]
            rank = ranked.index(target) + 1
            assert captions == ["true class" if rank <= 5 else f"true class, ranked {rank}"]
            batch = DATA.pixels.normalize(SPLIT.images[[image]])
            (maps,) = attend(run.model, batch, torch.tensor([shown])).maps.values()
            for panel, expected in zip(panels, maps[0], strict=True):
                torch.testing.assert_close(panel.attention, expected, rtol=1e-4, atol=1e-6)
    assert seen == {5, 6}


def test_no_images_no_scenes(runs):
    assert changed_scenes(SPLIT, {}, runs) == []
    assert layer_scenes(SPLIT, spread(len(SPLIT), 0), runs) == []


def test_few_classes_are_all_shown():
    torch.manual_seed(0)
    run = Run(None, RunConfig(), SmallNet(2).eval(), ("cat", "dog"), DATA.pixels, False, 0.0)
    split = TensorSplit(torch.tensor([0, 1]), images=SPLIT.images[:2])
    for scene in changed_scenes(split, {0: "a", 1: "b"}, {"one": run, "two": run}):
        assert scene.outline is None
        assert {panel.title[:3] for panel in scene.rows["two"]} == {"cat", "dog"}
        assert sum(panel.emphasis for panel in scene.rows["two"]) == 1


def test_all_true_classes_are_framed():
    targets = torch.zeros(1, 10)
    targets[0, [2, 5]] = 1
    run = make_run(0, multilabel=True)
    split = TensorSplit(targets, images=SPLIT.images[:1])
    (scene,) = changed_scenes(split, {0: "a"}, {"one": run, "two": run})
    odds = logits(run, [0]).sigmoid()[0]
    mean = f"{odds[[2, 5]].mean():.0%}"
    assert scene.title == f"2 and 5 (image 0): {mean} → {mean}"
    assert {panel.title[0] for panel in scene.rows["one"] if panel.emphasis} <= {"2", "5"}


def test_a_confused_pair_shows_what_both_maps_share(runs):
    target = int(SPLIT.targets.mode().values)
    taken = (target + 1) % 10
    (scene,) = confused_scenes(SPLIT, [(target, taken)], runs)
    images = (SPLIT.targets == target).nonzero().flatten().tolist()
    odds = logits(runs["plain"], images).softmax(1)[:, [target, taken]].tolist()
    mistaken = [i for i, (right, wrong) in enumerate(odds) if wrong > right] or range(len(images))
    image = images[max(mistaken, key=lambda i: min(odds[i]))]
    torch.testing.assert_close(scene.image, SPLIT.images[image].float() / 255, atol=1e-6, rtol=0)
    assert (scene.name, scene.title) == (f"confused-{target}-{taken}", f"{target} taken for {taken}")
    for name, run in runs.items():
        batch = DATA.pixels.normalize(SPLIT.images[[image]])
        (maps,) = attend(run.model, batch, torch.tensor([[target, taken]])).maps.values()
        true, other, shared = scene.rows[name]
        torch.testing.assert_close(true.attention, maps[0, 0])
        torch.testing.assert_close(other.attention, maps[0, 1])
        expected = np.minimum(true.attention.numpy(), other.attention.numpy())
        assert np.array_equal(shared.attention.numpy(), expected)
        assert (true.emphasis, other.emphasis, shared.emphasis) == (True, False, False)


def test_a_pair_without_images_is_left_out(runs):
    split = TensorSplit(torch.tensor([4, 4]), images=SPLIT.images[:2])
    assert [scene.title for scene in confused_scenes(split, [(3, 5), (4, 5)], runs)] == ["4 taken for 5"]


def test_layers_on_scales_of_their_own(runs):
    scenes = layer_scenes(SPLIT, [2, 5], runs)
    for scene, image in zip(scenes, (2, 5), strict=True):
        batch = DATA.pixels.normalize(SPLIT.images[[image]])
        for name, run in runs.items():
            layers = last_stages(run.model, batch)
            maps = attend(run.model, batch, SPLIT.targets[[image]], layers=layers).maps
            for panel, layer in zip(scene.rows[name], layers, strict=True):
                peak = maps[layer].max().clamp(min=1e-30)
                torch.testing.assert_close(panel.attention, maps[layer][0, 0] / peak, rtol=1e-4, atol=1e-6)
                assert layer in panel.caption


def test_a_mechanism_without_layers_has_no_scenes_of_them(runs):
    assert layer_scenes(SPLIT, [2], runs, "occlusion:14") == []
    (scene,) = changed_scenes(SPLIT, {2: "improved"}, runs, "occlusion:14")
    for name in runs:
        assert scene.rows[name][0].attention.shape == DATA.pixels.size


def test_features_before_the_classifier(runs, monkeypatch):
    monkeypatch.setattr("looksharp.comparison.projection._BATCH", 5)
    run = runs["plain"]
    found = penultimate_features(run, SPLIT, range(12))
    expected = logits(run, list(range(12)))
    torch.testing.assert_close(run.model.fc(found).detach(), expected, rtol=1e-4, atol=1e-4)


def test_features_of_a_network_without_a_linear_classifier():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 10, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    run = Run(None, RunConfig(), model.eval(), DATA.classes, DATA.pixels, False, 0.0)
    found = penultimate_features(run, SPLIT, [0, 1])
    torch.testing.assert_close(found, logits(run, [0, 1]))


def test_alike_images_are_close():
    """Two far groups of features stay two groups, and the same seed gives the same points."""
    split = TensorSplit(torch.arange(24) // 12, images=SPLIT.images.clone())
    split.images[:12], split.images[12:] = 20, 230
    split.images += torch.randint(0, 9, split.images.shape, dtype=torch.uint8)
    run = make_run(0)
    found = project(run, split, range(24))
    assert found.labels.tolist() == [0] * 12 + [1] * 12
    distances = torch.cdist(found.points, found.points)
    nearest = distances.fill_diagonal_(torch.inf).argmin(1)
    assert (nearest // 12 == torch.arange(24) // 12).all()
    torch.testing.assert_close(project(run, split, range(24)).points, found.points)


def test_too_few_images_give_no_points(runs):
    assert project(runs["plain"], SPLIT, range(3)).points.shape == (0, 2)
