"""A cure by ticks alone: no marks anywhere, groups of regions as `suspects` leaves them."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import looksharp
from looksharp.curing import page as page_module
from looksharp.curing import refusing
from looksharp.curing.pieces import piece_splits
from looksharp.curing.refusing import refusals
from looksharp.curing.retraining import cure
from looksharp.curing.settings import CureSettings
from looksharp.curing.ticks import choose_ticks, ticked_numbers
from looksharp.curing.verdict import OF_PIECES, Verdict, judge, worse
from looksharp.data.build import DataConfig, build_data
from looksharp.data.sets.synthetic import PALETTE
from looksharp.evaluation.fingerprint import model_fingerprint
from looksharp.interventions.division import PIECES
from looksharp.interventions.intervene import intervene
from looksharp.suspects.groups import Figure, Group, Groups, Region, images_fingerprint, write_groups
from looksharp.suspects.regions import find_regions
from looksharp.training import load_run, train
from looksharp.training.settings import OptimizationConfig, RunConfig, TrainingConfig

FIGURE = Figure(0.1, (0.0, 0.2), 30)
OPTIONS = {"device": "cpu", "progress": False}
DIGITS = {"rho": 1.0, "train": 120, "val": 40, "test": 24}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A classifier that reads a patch, which gives every class away."""
    config = RunConfig(
        data=DataConfig("biased_digits", settings=DIGITS),
        optimization=OptimizationConfig(lr=0.1),
        training=TrainingConfig(epochs=2, batch_size=16, device="cpu"),
    )
    return train(config, tmp_path_factory.mktemp("runs") / "digits", progress=False).path


@pytest.fixture(scope="module")
def data():
    return build_data(DataConfig("biased_digits", settings=DIGITS), 0)


def regions(data, places, which="cues"):
    split = data.splits["train"]
    return tuple(
        Region.of(place, data.classes[int(split.targets[place])], getattr(split, which).of(place)[0][1])
        for place in places
    )


@pytest.fixture(scope="module")
def found(run, data):
    """Two groups on the patch, one on digits, one empty, and one whose tests find no effect."""
    model, split = load_run(run, device="cpu").model, data.splits["train"]
    groups = (
        Group(1, regions(data, range(0, 60))),
        Group(2, regions(data, range(60, 90))),
        Group(3, regions(data, range(90, 110), "marks")),
        Group(4, ()),
        Group(5, regions(data, range(110, 120), "marks"), {"alone": FIGURE}, "unclear", "Nothing tells."),
    )
    return Groups(
        None, model_fingerprint(model), images_fingerprint(split, data.pixels), "train", (48, 48), data.classes, groups
    )


@pytest.fixture(scope="module")
def suspects(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("suspects")
    write_groups(folder / "groups.json", found)
    return folder


@pytest.fixture(autouse=True)
def _lenient(monkeypatch):
    """So short a training follows no piece in half of the images; what is refused is tested by itself."""
    _allow_all(monkeypatch)


def _allow_all(patch):
    patch.setattr("looksharp.curing.refusing.FOLLOWED", -math.inf)
    patch.setattr("looksharp.curing.refusing.ELSEWHERE", math.inf)


@pytest.fixture(scope="module")
def cured(run, suspects):
    with pytest.MonkeyPatch.context() as patch:
        _allow_all(patch)
        return looksharp.cure(run, cues=suspects, shortcut=[1, 2], epochs=1, budget=[1], seeds=1, **OPTIONS)


def test_a_cure_by_ticks_alone(cured, run, suspects, data):
    out, config = cured.report.parent, cured.after.run.config
    before = load_run(run, device="cpu")
    assert [part.name for part in config.objective] == ["classification", "cue_exchange"]
    marks = config.marks
    assert (marks.marks, marks.cues, marks.shortcut, marks.object) == (None, str(out / "cues.json"), [1, 2], None)
    assert marks.marked_per_batch == 8
    assert replace(config, objective=before.config.objective, marks=before.config.marks) == replace(
        before.config, training=replace(before.config.training, epochs=1)
    )
    assert (cured.before.ticks, cured.after.ticks, cured.after.marked) == (0, 2, 0)
    assert cured.before.pieces.keys() == {"biased", "unbiased", "conflicting", "val"}
    assert cured.before.interventions.keys() == cured.before.pieces.keys()  # by marks too, where there are any
    page = cured.report.read_text()
    for words in (
        "2 ticked groups",
        "Accuracy with another class&#39;s piece",
        "By the marks of objects",
        "2 groups (1, 2), 90 training",
    ):
        assert words.replace("&#39;", "'") in page.replace("&#39;", "'"), words
    results = json.loads((out / "results.json").read_text())
    assert results["classifiers"]["cure"]["ticks"] == 2
    assert [row["marked"] for row in results["budget"]] == [1]
    few = load_run(out / "budget" / "1" / "seed-0", device="cpu")
    assert few.config.marks == replace(marks, shortcut=[1])


def test_the_proof_is_found_by_the_network_before(cured, run, suspects, data):
    """Held-out images' regions, one by one, and the same exchange by both networks."""
    before = load_run(run, device="cpu")
    ticks = choose_ticks(suspects, "all", None, before, data, cured.report.parent.parent / "all")
    assert ticks.shortcut == (1, 2, 3)
    assert ticks.refused == {5: "suspects found no effect of its regions: Nothing tells"}
    everything = replace(ticks, groups=replace(ticks.groups, groups=ticks.groups.groups[:3]))
    split = piece_splits(before, data, everything, progress=False)["biased"]
    for place in range(len(data.splits["biased"])):
        image = data.pixels.normalize(split.images[place : place + 1])
        ((_, mask),) = split.marks.of(place) or ((0, torch.zeros(48, 48, dtype=torch.bool)),)
        alone = find_regions(before.model, image, split.targets[place : place + 1])[0]
        assert (mask ^ alone).sum() <= 0.05 * alone.sum()  # as one by one, but for rounding at the edge
    some = piece_splits(before, data, replace(ticks, shortcut=(1, 2)), progress=False)["biased"]
    assert set(some.marks.images) < set(range(24))
    for measured, model in ((cured.before, before.model), (cured.after, cured.after.run.model)):
        expected = intervene(model, some, data.pixels, division=PIECES)
        assert measured.pieces["biased"].values == pytest.approx(expected.values)
    by_pieces = judge(cured.before.pieces, cured.after.pieces, said=OF_PIECES)
    by_marks = judge(cured.before.interventions, cured.after.interventions)
    assert cured.verdict.kind == worse(by_pieces, by_marks).kind


def test_the_worse_verdict_counts():
    kinds = [Verdict(kind, "") for kind in ("cured", "partly", "not")]
    assert worse(kinds[0], kinds[2]) is kinds[2]
    assert worse(kinds[2], kinds[1]) is kinds[2]


@pytest.mark.usefixtures("cured")
def test_the_same_call_goes_on(cured, run, suspects, monkeypatch):
    monkeypatch.setattr(page_module, "draw_examples", lambda folder, examples: None)
    again = cure(run, cues=suspects, shortcut="2,1", epochs=1, budget=[1], seeds=1, **OPTIONS)
    assert again.verdict == cured.verdict
    with pytest.raises(ValueError, match=r"holds a cure with other ticks; choose another --out, or remove it$"):
        cure(run, cues=suspects, shortcut=[1], epochs=1, **OPTIONS)


def test_ticks_of_the_object_are_marks(run, suspects, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "draw_examples", lambda folder, examples: None)
    found = cure(run, cues=suspects, shortcut="1", object=[3], out=tmp_path / "both", epochs=1, **OPTIONS)
    config = found.after.run.config
    assert [part.name for part in config.objective] == ["classification", "agreement", "cue_exchange"]
    assert json.loads((tmp_path / "both" / "runs" / "cure" / "run.json").read_text())["marked"] == 20
    assert found.after.ticks == 2
    assert not config.marks.propagate


def test_ticks_of_the_object_are_propagated_where_that_is_asked_for(run, suspects, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "draw_examples", lambda folder, examples: None)
    found = cure(run, cues=suspects, object="3", propagate=True, out=tmp_path / "objects", epochs=1, **OPTIONS)
    assert (found.after.run.config.marks.propagate, found.after.run.config.marks.object) == (True, [3])
    assert "A small segmenter learnt the 20 marks" in found.report.read_text()


def test_bad_ticks_are_refused_in_one_line(run, suspects, found, data, tmp_path, monkeypatch):
    def fails(message, **options):
        given = {"cues": suspects, "shortcut": [1]} | options
        with pytest.raises(ValueError, match=message) as caught:
            cure(run, out=tmp_path / "out", **OPTIONS, **given)
        assert "\n" not in str(caught.value)

    fails("^shortcut must be numbers of groups, such as 1,2,5, or all; got 'most'$", shortcut="most")
    fails(r"^shortcut must be numbers of groups, .*; got '0'$", shortcut="0")
    fails("^shortcut names group 1 twice$", shortcut=[1, 1])
    fails("has no group 9; it has 1, 2, 3, 5$", shortcut=[1, 9])
    fails(r"^group 4 of .*groups.json is empty; groups with images are 1, 2, 3, 5$", shortcut="4")
    fails("^group 1 is ticked as shortcut and as object; leave one out$", object="1,3")
    fails(
        "^no ticked group can be used: group 5: suspects found no effect of its regions: Nothing tells; tick",
        shortcut="5",
    )
    with monkeypatch.context() as patch:
        patch.setattr(refusing, "LARGEST", 0)
        fails(
            "^no ticked group can be used: group 5: suspects .*Nothing tells; group 2: its regions cover .*; tick",
            shortcut="5,2",
        )
    fails("does not exist", cues=tmp_path / "nothing")
    fails("^cues needs the groups that show a shortcut or the object", shortcut=None)
    fails("^shortcut names groups of looksharp suspects: name its groups.json by cues$", cues=None)
    refused = {"propagate_without": ["1.png"], "propagate": False}
    fails("^propagate_without refuses masks that propagate finds: leave out no_propagate$", **refused)
    fails("^mark_boxes is for marks, but there are none: name a file of them by marks$", mark_boxes=True)
    fails("^budget must be 0, or 1 to the 1 groups ticked as a shortcut; got 2$", budget=[2])
    fails("^cue_guidance must be parts that read cue marks: cue_exchange; got 'energy'$", cue_guidance="energy")
    for name, value, message in (
        ("run", "other", "groups of another run"),
        ("data", "other", "groups of other images"),
    ):
        write_groups(tmp_path / name / "groups.json", replace(found, **{name: value}))
        fails(message, cues=tmp_path / name)
    with pytest.raises(ValueError, match="required: --marks"):
        CureSettings(run=run)
    assert ticked_numbers("shortcut", "all") is None


class ReadsPatch(nn.Module):
    """Answers with the class whose patch covers most; with `everywhere`, reads the mean colour of the image instead."""

    def __init__(self, everywhere=False):
        super().__init__()
        self.everywhere, self.scale = everywhere, nn.Parameter(torch.ones(()))
        mean, std = 0.4, 0.25
        self.colours = ((torch.from_numpy(PALETTE) - mean) / std)[None, :, :, None, None]

    def forward(self, images):
        if self.everywhere:
            apart = (images.mean((-2, -1), keepdim=True).unsqueeze(1) - self.colours).square().sum(2)
            return -self.scale * apart[..., 0, 0]
        near = (images.unsqueeze(1) - self.colours).square().sum(2) < 0.02
        return self.scale * near.float().sum((-2, -1))


@pytest.mark.parametrize(
    ("which", "everywhere", "reason"),
    [
        ("cues", False, None),
        ("marks", False, "given another class's piece, the network answers with that class in 0% of its images ("),
        ("halves", True, "pieces from elsewhere in the images are followed in "),
    ],
)
def test_what_is_not_read_at_one_place_is_refused(run, data, which, everywhere, reason, monkeypatch):
    monkeypatch.undo()
    split = data.splits["train"]
    if which == "halves":  # a whole image of one colour: any piece of it says the same
        colours = (torch.from_numpy(PALETTE)[split.targets] * 255).round().byte()
        split = replace(split, images=colours[:, :, None, None].expand(-1, -1, 48, 48).contiguous())
        data = replace(data, splits=data.splits | {"train": split})
        monkeypatch.setattr("looksharp.curing.refusing.LARGEST", 1.0)
        left = torch.zeros(48, 48, dtype=torch.bool)
        left[:, :30] = True
        found = tuple(Region.of(place, data.classes[int(split.targets[place])], left) for place in range(60))
    else:
        found = regions(data, range(60), which)
    before = replace(load_run(run, device="cpu"), model=ReadsPatch(everywhere).eval())
    refused = refusals(before, data, {1: Group(1, found)})
    assert refused.keys() == ({1} if reason else set())
    assert refused.get(1, "").startswith(reason or "")


@pytest.mark.parametrize(
    ("classes", "follows", "within", "refused"),
    [
        (2, 0.42, 0.83, True),
        (2, 0.95, 0.97, False),
        (10, 0.45, 0.97, False),
        (10, 0.35, 0.97, True),
        (10, 0.66, 0.99, False),
        (10, 0.59, 0.61, False),
        (10, 0.16, 0.31, True),
    ],
)
def test_of_few_classes_mistakes_are_not_taken_for_following(run, data, classes, follows, within, refused, monkeypatch):
    """A network that is wrong where a piece was exchanged names the other of two classes, or one of nine others."""
    monkeypatch.undo()
    before = replace(load_run(run, device="cpu"), classes=tuple(map(str, range(classes))))

    def exchanged(run, data, found):
        images = torch.tensor([region.image for region in found])
        shares = {"follows_surroundings": follows, "exchanged_within": within}
        return SimpleNamespace(images=images, outcomes={k: torch.full((len(images),), v) for k, v in shares.items()})

    monkeypatch.setattr(refusing, "_exchanged", exchanged)
    monkeypatch.setattr(refusing, "ELSEWHERE", math.inf)
    reason = refusals(before, data, {1: Group(1, regions(data, range(60), "cues"))}).get(1, "")
    assert bool(reason) == refused
    if refused:
        assert f"in {follows:.0%} of its images ({(1 - within) / (classes - 1):.0%} would by mistake)" in reason


@pytest.mark.parametrize(("follows", "others", "refused"), [(0.9, 0.1, False), (0.35, 0.0, True), (0.9, 0.6, True)])
def test_of_one_class_the_tests_of_suspects_decide(run, data, follows, others, refused, monkeypatch):
    """Nothing is there to exchange such pieces with, whether they are ticked alone or left over."""
    monkeypatch.undo()
    labels = data.splits["train"].targets
    sevens = regions(data, (labels == 7).nonzero().flatten().tolist())
    tests = {
        name: Figure(share, (0.0, 1.0), 32) for name, share in {"follows": follows, "follows_random": others}.items()
    }
    before = load_run(run, device="cpu")
    found = refusals(before, data, {1: Group(1, sevens, tests, "decides")})
    if refused:
        assert found[1].startswith(
            "what is ticked is of one class, so that its pieces cannot be exchanged; pasted onto"
        )
        assert f"decide {follows:.0%} (random pieces: {others:.0%})" in found[1]
    untested = refusals(before, data, {1: Group(1, sevens)})[1]
    assert untested.endswith("cannot be exchanged, and suspects did not test them")
    threes = regions(data, (labels == 3).nonzero().flatten().tolist(), "marks")
    both = {1: Group(1, sevens, tests, "decides"), 2: Group(2, threes, tests, "unclear", "Nothing tells.")}
    assert refusals(before, data, both).keys() == found.keys() | {2}


def test_large_regions_are_refused_at_sight(run, data):
    mask = torch.zeros(48, 48, dtype=torch.bool)
    mask[:, :24] = True
    group = Group(1, (Region.of(0, "3", mask), Region.of(1, "3", mask)))
    expected = "its regions cover 50% of the image, and so objects too"
    assert refusals(load_run(run, device="cpu"), data, {1: group}) == {1: expected}
