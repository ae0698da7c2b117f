from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest, bootstrap, chisquare
from torch import nn
from torch.nn import functional as F

from looksharp.data.folder import read_folder
from looksharp.data.hold_out import hold_out
from looksharp.data.sets.synthetic import PALETTE, biased_digits
from looksharp.data.split import Pixels
from looksharp.data.splits.files import FileSplit, keep_in_memory
from looksharp.data.splits.memory import TensorSplit
from looksharp.interventions.examples import example_pictures
from looksharp.interventions.exchanged_split import exchanged_split
from looksharp.interventions.intervals import paired_interval, wilson_interval
from looksharp.interventions.intervene import INTERVENTIONS, intervene
from looksharp.interventions.objects import Objects, draw_partners
from looksharp.interventions.surroundings import exchange_surroundings, object_only, surroundings_only
from looksharp.marks.marks import Marks

CLASSES, SIDE = 4, 24
PIXELS = Pixels((SIDE, SIDE), mean=(0.4, 0.4, 0.4), std=(0.25, 0.25, 0.25))
CUES = torch.tensor([[50 * c, 0, 0] for c in range(CLASSES)])  # of surroundings
OBJECTS = torch.tensor([[0, 60 + 60 * c, 255] for c in range(CLASSES)])  # of objects
COUNTS = (9, 6, 4, 3)  # images of each class


def scene(label, cue, top=8, left=8, size=(SIDE, SIDE), objects=()):
    """An image of one colour with a square object of another, and its mask; more objects as (label, top, left)."""
    image = CUES[cue][:, None, None].expand(3, *size).clone()
    masks = []
    for kind, row, column in ((label, top, left), *objects):
        mask = torch.zeros(size, dtype=torch.bool)
        mask[row : row + 5, column : column + 5] = True
        image[:, mask] = OBJECTS[kind][:, None]
        masks.append(mask)
    return image.byte(), masks


def split_of(scenes, targets, marks, multilabel=False):
    """A split of images; `marks` are (image, class, mask)."""
    samples, labels, masks = zip(*marks, strict=True)
    hot = [F.one_hot(torch.tensor(t), CLASSES).sum(0) for t in targets] if multilabel else []
    target = torch.stack(hot) if multilabel else torch.tensor(targets)
    return TensorSplit(targets=target, marks=Marks(samples, labels, masks), images=torch.stack(scenes))


@pytest.fixture
def split():
    """Every class with its own surroundings, objects at several places."""
    labels = [c for c, count in enumerate(COUNTS) for _ in range(count)]
    made = [scene(label, label, 4 + i % 11, 4 + i % 7) for i, label in enumerate(labels)]
    return split_of([s[0] for s in made], labels, [(i, labels[i], s[1][0]) for i, s in enumerate(made)])


class ReadsTheCue(nn.Module):
    """Knows classes by the colour of the corner."""

    def forward(self, images):
        corner = PIXELS.denormalize(images)[:, :, 0, 0] * 255
        return -torch.cdist(corner, CUES.float())


class ReadsTheObject(nn.Module):
    """Knows classes by how many pixels have the object's colour."""

    def forward(self, images):
        colours = PIXELS.denormalize(images).flatten(2).unsqueeze(1) * 255  # (B, 1, 3, positions)
        near = (colours - OBJECTS[None, :, :, None]).abs().amax(2) < 2
        return near.sum(2) - 0.5


class Sees(nn.Module):
    """Keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen += list(images)
        return torch.zeros(len(images), CLASSES)


# Two classifiers whose answers are known ---------------------------------------------------------------------------


def test_a_reader_of_the_cue_follows_the_surroundings(split):
    found = intervene(ReadsTheCue(), split, PIXELS)
    grey = int(ReadsTheCue()(torch.zeros(1, 3, SIDE, SIDE)).argmax())  # what it makes of no surroundings
    assert found.values == {
        "original": 1,
        "exchanged_within": 1,
        "exchanged_across": 0,
        "background_gap": 1,
        "object_only": pytest.approx(COUNTS[grey] / sum(COUNTS)),
        "surroundings_only": 1,
        "follows_surroundings": 1,
    }


def test_a_reader_of_the_object_is_right_anywhere_and_lost_without_it(split):
    found = intervene(ReadsTheObject(), split, PIXELS)
    assert found.values == {
        "original": 1,
        "exchanged_within": 1,
        "exchanged_across": 1,
        "background_gap": 0,
        "object_only": 1,
        "surroundings_only": pytest.approx(COUNTS[0] / sum(COUNTS)),  # no evidence: always the first class
        "follows_surroundings": 0,
    }
    assert found.values["surroundings_only"] == pytest.approx(found.chance["surroundings_only"])


class ReadsThePatch(nn.Module):
    """Knows digits by the patch: how much of an 8 x 8 square has a class's colour."""

    def __init__(self, pixels):
        super().__init__()
        self.pixels = pixels

    def forward(self, images):
        colours = self.pixels.denormalize(images).unsqueeze(1)  # (B, 1, 3, H, W)
        near = (colours - torch.from_numpy(PALETTE)[None, :, :, None, None]).abs().amax(2) < 0.02
        return F.avg_pool2d(near.float(), 8, 1).amax((2, 3))


def test_a_reader_of_the_patch_beside_digits():
    data = biased_digits(1.0, 16, 16, 100)
    values = intervene(ReadsThePatch(data.pixels), data.splits["biased"], data.pixels).values
    assert values["original"] == values["surroundings_only"] == 1
    assert values["exchanged_within"] > 0.93  # the digit may come to lie on the patch
    assert values["exchanged_across"] < 0.03
    assert values["follows_surroundings"] > 0.93
    assert values["object_only"] < 0.2


# Each measure, image by image --------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [1, 3])
def test_outcomes_are_those_of_a_loop_over_images(draws):
    data = biased_digits(1.0, 16, 16, 40)
    split, pixels, model = data.splits["conflicting"], data.pixels, ReadsThePatch(data.pixels)
    found = intervene(model, split, pixels, pairs_per_image=draws, seed=3)
    assert len(found.images) > 35  # a class may have one image alone
    assert found.partners.shape == (40, 2, draws)

    def shown(i):
        return pixels.normalize(split.images[i : i + 1]), split.marks.of(i)[0][1][None].float()

    for n, i in enumerate(found.images.tolist()):
        image, mask = shown(i)
        label = int(split.targets[i])
        within, across = ([shown(int(j)) for j in found.partners[i, kind]] for kind in (0, 1))
        answers = [
            [int(model(exchange_surroundings(image, mask, *o))[0].argmax()) for o in kind] for kind in (within, across)
        ]
        expected = {
            "original": float(model(image).argmax() == label),
            "exchanged_within": np.mean([answer == label for answer in answers[0]]),
            "exchanged_across": np.mean([answer == label for answer in answers[1]]),
            "object_only": float(model(object_only(image, mask)).argmax() == label),
            "surroundings_only": float(model(surroundings_only(image, mask)).argmax() == label),
            "follows_surroundings": np.mean(
                [answer == int(split.targets[j]) for answer, j in zip(answers[1], found.partners[i, 1], strict=True)]
            ),
        }
        expected["background_gap"] = expected["exchanged_within"] - expected["exchanged_across"]
        assert {name: float(values[n]) for name, values in found.outcomes.items()} == pytest.approx(expected)
    assert found.values == pytest.approx({name: float(v.mean()) for name, v in found.outcomes.items()})


def test_every_measure_has_a_label_a_direction_an_interval_and_chance(split):
    found = intervene(ReadsTheCue(), split, PIXELS)
    for values in (found.values, found.intervals, found.chance, found.outcomes):
        assert list(values) == list(INTERVENTIONS)
    for name, (low, high) in found.intervals.items():
        assert low <= found.values[name] <= high
    assert {better for _, better in INTERVENTIONS.values()} == {"higher", "lower"}


def test_intervals_are_over_images(split):
    found = intervene(ReadsTheObject(), split, PIXELS)
    expected = binomtest(COUNTS[0], sum(COUNTS)).proportion_ci(method="wilson")
    assert found.intervals["surroundings_only"] == pytest.approx((expected.low, expected.high))
    assert found.intervals["background_gap"] == paired_interval(found.outcomes["background_gap"], 0)


def test_the_batch_size_changes_nothing(split):
    first, *others = [intervene(ReadsTheCue(), split, PIXELS, batch_size=size, seed=1) for size in (1, 5, 64)]
    for other in others:
        assert other.values == first.values
        assert other.intervals == first.intervals
        assert torch.equal(other.partners, first.partners)


def test_the_seed_draws_the_partners(split):
    state = torch.get_rng_state()
    found = [intervene(ReadsTheCue(), split, PIXELS, seed=seed).partners for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_model_is_left_alone(split):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, CLASSES)

        def forward(self, images):
            return SimpleNamespace(logits=self.head(self.norm(images).mean((2, 3))))

    model = Net().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = intervene(model, split, PIXELS)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not found.outcomes["original"].requires_grad


def test_chance_is_the_commonest_class_or_what_is_given(split):
    found = intervene(ReadsTheCue(), split, PIXELS)
    across = [int(found.objects.labels[row]) for row in found.partners[:, 1, 0]]
    assert found.chance["exchanged_across"] == pytest.approx(COUNTS[0] / sum(COUNTS))
    assert found.chance["follows_surroundings"] == pytest.approx(np.bincount(across).max() / len(across))
    assert found.chance["background_gap"] == 0
    given = intervene(ReadsTheCue(), split, PIXELS, chance=0.25).chance
    assert given == dict.fromkeys(INTERVENTIONS, 0.25) | {"background_gap": 0}


def test_progress_has_a_title(split, capsys):
    intervene(ReadsTheCue(), split, PIXELS, progress="what it looks at")
    assert "what it looks at" in capsys.readouterr().err
    intervene(ReadsTheCue(), split, PIXELS)
    assert capsys.readouterr().err == ""


# Partners ----------------------------------------------------------------------------------------------------------


def test_partners_are_other_images_of_the_class_and_images_without_it():
    targets = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1]])
    samples, labels = targets.nonzero().unbind(1)
    objects = Objects(samples, labels)
    within, across = draw_partners(objects, targets, 200, seed=0).unbind(1)
    for row in range(len(objects)):
        same = {j for j in range(len(objects)) if j != row and labels[j] == labels[row]}
        without = {j for j in range(len(objects)) if not targets[samples[j], labels[row]]}
        assert set(within[row].tolist()) == same
        assert set(across[row].tolist()) == without


def test_partners_are_drawn_alike():
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 2, 0])
    within, across = draw_partners(Objects(torch.arange(8), labels), labels, 6000, seed=0).unbind(1)
    for row in range(8):
        for drawn, candidates in ((within[row], 3 if labels[row] == 0 else 1), (across[row], None)):
            counts = np.bincount(drawn, minlength=8)
            counts = counts[counts > 0]
            assert len(counts) == (candidates or int((labels != labels[row]).sum()))
            assert len(counts) == 1 or chisquare(counts).pvalue > 1e-4


def test_without_candidates_there_is_no_partner():
    labels = torch.tensor([0, 0, 1])
    within, across = draw_partners(Objects(torch.arange(3), labels), labels, 1, seed=0).squeeze(2).unbind(1)
    assert within.tolist() == [1, 0, -1]
    assert across[:2].tolist() == [2, 2]
    alone = draw_partners(Objects(torch.arange(2), torch.zeros(2, dtype=torch.long)), torch.zeros(2), 2, seed=0)
    assert (alone[:, 1] == -1).all()


# Which objects -----------------------------------------------------------------------------------------------------


def test_images_that_cannot_be_used_are_left_out_and_counted():
    labels = [0, 0, 0, 0, 0, 0, 1, 1, 2]
    made = [scene(label, label) for label in labels]
    masks = [m[0] for _, m in made]
    masks[2], masks[3] = torch.zeros_like(masks[2]), torch.ones_like(masks[3])
    masks[4] = F.pad(torch.ones(SIDE - 2, SIDE - 2, dtype=torch.bool), (1, 1, 1, 1))  # its edge covers the rest
    marks = [(i, labels[i], masks[i]) for i in range(9) if i != 5] + [(5, 1, masks[5])]  # of a class not shown
    found = intervene(ReadsTheCue(), split_of([s for s, _ in made], labels, marks), PIXELS)
    assert found.images.tolist() == [0, 1, 6, 7]
    assert list(found.left_out.items()) == [
        ("no mask of its class", 1),
        ("mask is empty or leaves no surroundings", 3),
        ("no image to exchange with", 1),
    ]
    assert set(found.objects.samples[found.partners[:, 1].flatten()].tolist()) <= {0, 1, 6, 7, 8}
    assert found.values["original"] == 1


def test_the_only_image_of_a_class_still_lends_its_surroundings():
    labels = [0, 0, 0, 1]
    made = [scene(label, label) for label in labels]
    split = split_of([s for s, _ in made], labels, [(i, labels[i], m[0]) for i, (_, m) in enumerate(made)])
    found = intervene(ReadsTheCue(), split, PIXELS)
    assert found.images.tolist() == [0, 1, 2]
    assert found.objects.samples[found.partners[:3, 1, 0]].tolist() == [3, 3, 3]
    assert found.values["follows_surroundings"] == 1


def test_masks_of_the_class_are_united_and_other_objects_go_with_the_surroundings():
    made = [scene(0, 0, 3, 3, objects=[(0, 3, 15), (1, 15, 3)]), scene(0, 1), scene(1, 2), scene(1, 3)]
    marks = [(0, label, mask) for label, mask in zip((0, 0, 1), made[0][1], strict=True)]
    marks += [(i, label, made[i][1][0]) for i, label in ((1, 0), (2, 1), (3, 1))]
    split = split_of([s for s, _ in made], [0, 0, 1, 1], marks)
    found = intervene(ReadsTheObject(), split, PIXELS)
    alone = example_pictures(split, PIXELS, found, 0)
    first, second, other = made[0][1]
    assert torch.equal(alone.mask, (first | second).float())
    shown = PIXELS.denormalize(alone.pictures["object_only"]) * 255
    torch.testing.assert_close(shown[:, first | second], OBJECTS[0][:, None].float().expand(3, 50))
    assert alone.pictures["object_only"][:, other].count_nonzero() == 0
    gone = PIXELS.denormalize(alone.pictures["surroundings_only"]) * 255
    torch.testing.assert_close(gone[:, other], OBJECTS[1][:, None].float().expand(3, 25))
    torch.testing.assert_close(gone[:, first | second], CUES[0][:, None].float().expand(3, 50), atol=80, rtol=0)


# Several labels ----------------------------------------------------------------------------------------------------


@pytest.fixture
def several():
    """Images of one or two classes; the fourth has no mask for one of its classes."""
    shows = [(0, 1), (0,), (1, 2), (2,), (0, 2), (3,)]
    made = [scene(c[0], i % CLASSES, 3, 3, objects=[(k, 15, 15) for k in c[1:]]) for i, c in enumerate(shows)]
    marks = [(i, k, m) for i, (_, masks) in enumerate(made) for k, m in zip(shows[i], masks, strict=True)]
    del marks[-2]  # class 2 in image 4
    return split_of([s for s, _ in made], shows, marks, multilabel=True)


def test_of_several_labels_each_pair_is_an_object(several):
    found = intervene(ReadsTheObject(), several, PIXELS, pairs_per_image=4)
    assert found.values == {
        "original": 1,
        "exchanged_within": 1,
        "exchanged_across": 1,
        "background_gap": 0,
        "object_only": 1,
        "surroundings_only": 0,
        "follows_surroundings": 0,
    }
    assert found.images.tolist() == [0, 1, 2, 3, 4]  # no other image shows class 3
    assert found.left_out["no image to exchange with"] == 1
    rows = (found.partners >= 0).flatten(1).all(1).nonzero().flatten().tolist()
    for row in rows:
        label = found.objects.labels[row]
        assert (found.objects.labels[found.partners[row, 0]] == label).all()
        assert (several.targets[found.objects.samples[found.partners[row, 1]], label] == 0).all()
    prevalence = several.targets.double().mean(0)[found.objects.labels[rows]].mean()
    assert found.chance["original"] == pytest.approx(float(prevalence))


def test_of_several_labels_an_image_counts_once(several):
    class Knows0(ReadsTheObject):
        def forward(self, images):
            return torch.where(torch.arange(CLASSES) == 0, super().forward(images), -1)

    found = intervene(Knows0(), several, PIXELS)
    assert found.outcomes["original"].tolist() == [0.5, 1, 0, 0, 1]
    assert found.values["original"] == pytest.approx(0.5)
    expected = binomtest(5, 10).proportion_ci(method="wilson")
    low, high = found.intervals["original"]  # of five images, not of seven objects
    assert low < expected.low
    assert high > expected.high


def test_of_several_labels_an_answer_is_more_likely_than_not(several):
    yes = intervene(lambda_net(1e-3), several, PIXELS).values
    assert yes["original"] == yes["surroundings_only"] == yes["follows_surroundings"] == 1
    no = intervene(lambda_net(-1e-3), several, PIXELS).values
    assert no["original"] == no["exchanged_across"] == no["follows_surroundings"] == 0


def lambda_net(logit):
    class Net(nn.Module):
        def forward(self, images):
            return torch.full((len(images), CLASSES), logit)

    return Net()


# Errors ------------------------------------------------------------------------------------------------------------


def test_masks_are_needed(split):
    wrong = replace(split, marks=Marks([0], [3], [torch.ones(SIDE, SIDE, dtype=torch.bool)]))
    for without in (replace(split, marks=None), wrong, replace(split, marks=split.marks.restricted([]))):
        with pytest.raises(ValueError, match=r"interventions need masks or boxes, but no image of the split has one"):
            intervene(ReadsTheCue(), without, PIXELS)


def test_two_classes_are_needed(split):
    with pytest.raises(ValueError, match=r"the split has 9, of classes \[0\], at most 9 of one class: mark more"):
        intervene(ReadsTheCue(), replace(split, marks=split.marks.restricted(range(9))), PIXELS)


def test_two_images_of_a_class_are_needed(split):
    with pytest.raises(ValueError, match=r"the split has 2, of classes \[0, 1\], at most 1 of one class: mark more"):
        intervene(ReadsTheCue(), replace(split, marks=split.marks.restricted([0, 9])), PIXELS)


def test_masks_that_leave_nothing_are_no_use(split):
    full = Marks(range(12), split.targets[:12].tolist(), torch.ones(12, SIDE, SIDE, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"the split has 0, of classes \[\], at most 0 of one class"):
        intervene(ReadsTheCue(), replace(split, marks=full), PIXELS)


@pytest.mark.parametrize("name", ["batch_size", "pairs_per_image"])
def test_counts_are_positive(split, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
        intervene(ReadsTheCue(), split, PIXELS, **{name: 0})


# Intervals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 20), (499, 1000)])
def test_wilson_is_scipys(right, count):
    values = torch.tensor([1.0] * right + [0.0] * (count - right))
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson_interval(values) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("shares", [(0.2, 0.7, 0.1), (0.02, 0.95, 0.03), (0.0, 0.5, 0.5)])
def test_the_paired_interval_is_scipys_bootstrap_with_two_images_more(shares):
    values = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 150, p=shares)
    expected = bootstrap(
        ([*values, -1.0, 1.0],), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert paired_interval(torch.tensor(values)) == pytest.approx((expected.low, expected.high), abs=0.011)


def test_the_paired_interval_of_any_values():
    values = np.random.default_rng(0).uniform(-0.5, 1, 80)
    expected = bootstrap(
        ([*values, -1.0, 1.0],), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert paired_interval(torch.tensor(values)) == pytest.approx((expected.low, expected.high), abs=0.008)


@pytest.mark.parametrize(
    ("count", "shares"), [(40, (0.05, 0.8, 0.15)), (200, (0.01, 0.96, 0.03)), (25, (0, 0.98, 0.02))]
)
def test_the_paired_interval_covers_the_truth(count, shares):
    rng, truth = np.random.default_rng(0), shares[2] - shares[0]
    covered = []
    for _ in range(300):
        values = torch.from_numpy(rng.choice([-1.0, 0.0, 1.0], count, p=shares))
        low, high = paired_interval(values, resamples=1000)
        covered.append(low <= truth <= high)
    assert np.mean(covered) > 0.93


def test_few_images_that_agree_prove_little():
    for count, bound in ((5, 0.25), (60, 0.04), (500, 0.002)):
        low, high = paired_interval(torch.zeros(count))
        assert low < -bound
        assert high > bound


def test_the_paired_interval_is_drawn_by_seed():
    values = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 300))
    assert paired_interval(values, 4) == paired_interval(values, 4)
    assert len({paired_interval(values, seed, resamples=50) for seed in range(5)}) > 1


# Pictures ----------------------------------------------------------------------------------------------------------


def test_example_pictures_are_what_the_network_saw(split):
    model = Sees()
    found = intervene(model, split, PIXELS, pairs_per_image=2, seed=5, batch_size=100)
    count = len(split)
    alone, exchanged = torch.stack(model.seen).split([3 * count, 4 * count])
    alone, exchanged = alone.view(3, count, 3, SIDE, SIDE), exchanged.view(count, 2, 2, 3, SIDE, SIDE)
    for image in (0, 11, 21):
        example = example_pictures(split, PIXELS, found, image)
        assert (example.image, example.label) == (image, int(split.targets[image]))
        assert example.surroundings == int(split.targets[found.partners[image, 1, 0]]) != example.label
        assert torch.equal(example.mask, split.marks.of(image)[0][1].float())
        expected = {
            "original": alone[0, image],
            "exchanged_within": exchanged[image, 0, 0],
            "exchanged_across": exchanged[image, 1, 0],
            "object_only": alone[1, image],
            "surroundings_only": alone[2, image],
        }
        assert list(example.pictures) == list(expected)
        for name, picture in example.pictures.items():
            torch.testing.assert_close(picture, expected[name])


def test_an_image_that_was_not_used_has_no_pictures(split):
    found = intervene(ReadsTheCue(), replace(split, marks=split.marks.restricted(range(12))), PIXELS)
    with pytest.raises(ValueError, match=r"image must be one that was intervened on, .*; got 20"):
        example_pictures(split, PIXELS, found, 20)


# Exchanged splits --------------------------------------------------------------------------------------------------


def test_an_exchanged_split_shows_objects_in_foreign_surroundings(split):
    exchanged = exchanged_split(split, PIXELS, batch_size=5)
    assert torch.equal(exchanged.targets, split.targets)
    images = next(iter(exchanged.loader([list(range(len(split)))], PIXELS))).image
    assert torch.equal(ReadsTheObject()(images).argmax(1), split.targets)
    assert (ReadsTheCue()(images).argmax(1) != split.targets).all()
    assert torch.equal(exchanged_split(split, PIXELS, batch_size=64).images, exchanged.images)
    assert not torch.equal(exchanged_split(split, PIXELS, seed=1).images, exchanged.images)


def test_an_exchanged_split_is_limited(split):
    few = exchanged_split(split, PIXELS, limit=8)
    assert len(few) == len(few.images) == 8
    others = exchanged_split(split, PIXELS, limit=8, seed=1)
    assert few.targets.bincount(minlength=CLASSES).tolist() != others.targets.bincount(minlength=CLASSES).tolist()


def test_an_exchanged_split_of_several_labels_has_one_object_an_image(several):
    exchanged = exchanged_split(several, PIXELS)
    assert exchanged.targets.tolist() == [0, 1, 0, 1, 2, 2, 0, 3]
    images = next(iter(exchanged.loader([list(range(8))], PIXELS))).image
    assert (ReadsTheObject()(images)[torch.arange(8), exchanged.targets] > 0).all()


def test_an_exchanged_split_needs_two_classes(split):
    with pytest.raises(ValueError, match=r"the split has 9, of classes \[0\]"):
        exchanged_split(replace(split, marks=split.marks.restricted(range(9))), PIXELS)


# Images in files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Three classes in files of varying size; one object lies where the middle crop does not reach."""
    sizes = [(24, 24), (30, 48), (52, 24), (26, 70), (48, 48)]
    for split in ("train", "val", "test"):
        for label, name in enumerate(("ant", "bee", "cow")):
            for number, size in enumerate(sizes):
                far = split == "test" and name == "cow" and number == 3
                top, left = (0, 0) if far else (size[0] // 2 - 3, size[1] // 2 - 3)
                image, masks = scene(label, label, top, left, size)
                for home, pixels in (("", image.permute(1, 2, 0).numpy()), ("masks", masks[0].numpy() * np.uint8(255))):
                    path = tmp_path / home / split / name / f"{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(path)
    return replace(hold_out(read_folder(tmp_path, size=SIDE)), pixels=PIXELS)


def test_files_of_any_size(folder):
    split = folder.splits["test"]
    assert isinstance(split, FileSplit)
    found = intervene(ReadsTheCue(), split, PIXELS, batch_size=4, seed=2)
    assert found.images.tolist() == [i for i in range(15) if i != 13]
    assert found.left_out["mask is empty or leaves no surroundings"] == 1
    assert found.values["exchanged_within"] == found.values["follows_surroundings"] == 1
    assert found.values["exchanged_across"] == 0
    memory = intervene(ReadsTheCue(), keep_in_memory(folder).splits["test"], PIXELS, seed=2)
    assert memory.values == found.values
    assert torch.equal(memory.partners, found.partners)


def test_pictures_of_files(folder):
    split = folder.splits["test"]
    found = intervene(ReadsTheObject(), split, PIXELS)
    example = example_pictures(split, PIXELS, found, 7)  # 52 x 24, the middle of which is shown
    assert example.label == 1
    assert example.mask.sum() == 25
    batch = next(iter(split.loader([[7]], PIXELS)))
    assert torch.equal(example.pictures["original"], batch.image[0])
    assert ReadsTheCue()(example.pictures["exchanged_across"][None]).argmax() == example.surroundings


def test_workers_change_nothing(folder):
    alone, helped = (intervene(ReadsTheCue(), folder.splits["val"], PIXELS, workers=n) for n in (0, 1))
    assert alone.values == helped.values
    assert torch.equal(alone.partners, helped.partners)
