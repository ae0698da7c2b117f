import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from looksharp.data.sets.synthetic import digits
from looksharp.evaluation.fingerprint import model_fingerprint
from looksharp.networks import SmallNet
from looksharp.suspects.groups import Figure, Group, Groups, Region, images_fingerprint, read_groups, write_groups


def mask(*pixels, size=(5, 7)):
    drawn = torch.zeros(size, dtype=torch.bool)
    for row, column in pixels:
        drawn[row, column] = True
    return drawn


MASKS = [mask(), mask((0, 0), (1, 0)), mask((4, 6)), ~mask(), mask((2, 3), (3, 3), (2, 4), (0, 6))]


@pytest.fixture
def groups():
    regions = tuple(Region.of(2 * place, "ab"[place % 2], each) for place, each in enumerate(MASKS))
    tests = {"follows": Figure(0.75, (0.5, 0.9), 20)}
    full = Group(1, regions, tests, "decides", "the answer follows the piece")
    return Groups(None, "net", "images", "train", (5, 7), ("a", "b"), (full, Group(4, ())))


@pytest.mark.parametrize("place", range(len(MASKS)))
def test_a_region_is_the_mask_and_packed_as_coco_packs_it(place):
    region = Region.of(0, "a", MASKS[place])
    assert torch.equal(region.mask, MASKS[place])
    assert region.mask.dtype == torch.bool
    packed = coco_mask.frPyObjects({"size": [5, 7], "counts": list(region.runs)}, 5, 7)
    expected = coco_mask.encode(np.asfortranarray(MASKS[place].numpy().astype(np.uint8)))
    assert packed == expected


def test_groups_are_read_as_they_were_written(groups, tmp_path):
    write_groups(tmp_path / "groups.json", groups)
    for path in (tmp_path / "groups.json", tmp_path):
        found = read_groups(path)
        assert (found.run, found.data, found.split) == ("net", "images", "train")
        assert (found.size, found.classes, [group.number for group in found]) == ((5, 7), ("a", "b"), [1, 4])
        assert found[1].tests == groups[1].tests
        assert (found[1].verdict, found[1].reason) == ("decides", "the answer follows the piece")
        assert found[1].images == [0, 2, 4, 6, 8]
        assert found[1].classes == {"a": 3, "b": 2}
        for region, expected in zip(found[1].regions, MASKS, strict=True):
            assert torch.equal(region.mask, expected)


def test_the_file_is_as_documented(groups, tmp_path):
    write_groups(tmp_path / "groups.json", groups)
    content = json.loads((tmp_path / "groups.json").read_text())
    assert {"looksharp", "run", "data", "split", "size", "classes", "groups"} == content.keys()
    assert content["groups"][0]["images"] == 5
    assert content["groups"][0]["classes"] == {"a": 3, "b": 2}
    assert content["groups"][0]["tests"] == {"follows": {"share": 0.75, "interval": [0.5, 0.9], "images": 20}}
    assert content["groups"][0]["regions"][2] == {
        "image": 4,
        "class": "a",
        "mask": {"size": [5, 7], "counts": [34, 1]},
    }


def test_a_number_that_is_no_group_or_an_empty_one(groups, tmp_path):
    write_groups(tmp_path / "groups.json", groups)
    found = read_groups(tmp_path)
    with pytest.raises(ValueError, match=r"^\S+groups\.json has no group 2; it has 1$"):
        found[2]
    with pytest.raises(ValueError, match=r"^group 4 of \S+groups\.json is empty; groups with images are 1$"):
        found[4]


def test_groups_of_another_run_or_other_images(groups):
    torch.manual_seed(0)
    data, model = digits(20, 1, 1), SmallNet(10, width=8).eval()
    split, other = data.splits["train"], digits(20, 1, 1, seed=1).splits["train"]
    own = replace(groups, run=model_fingerprint(model), data=images_fingerprint(split, data.pixels))
    own.check(model, split, data.pixels)
    own.check(model, replace(split, marks=None), data.pixels)
    with pytest.raises(ValueError, match=r"^groups has groups of other images than the run's train split; run"):
        own.check(model, other, data.pixels)
    with pytest.raises(ValueError, match="of other images"):
        own.check(model, split, data.resized(32).pixels)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    with pytest.raises(ValueError, match=r"^groups has groups of another run, or of another checkpoint of it; run"):
        own.check(model, split, data.pixels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("run"), r"must have run, data, split, size, classes and groups"),
        (lambda c: c.update(size=[5]), r"must have run, data, split, size, classes and groups"),
        (lambda c: c.update(groups=3), r"must have run, data, split, size, classes and groups"),
        (lambda c: c["groups"].append(5), r"group None must have a number and regions"),
        (lambda c: c["groups"][0].update(group="1"), r"group '1' must have a number and regions"),
        (lambda c: c["groups"][0]["regions"][1].update(image=-1), r"group 1 has a region of image -1 and class 'b'"),
        (lambda c: c["groups"][0]["regions"][1].update({"class": "c"}), r"of image 2 and class 'c', which there are"),
        (lambda c: c["groups"][0]["regions"][1]["mask"].update(counts=[35, 1]), r"image 2 must have run lengths for 5"),
        (lambda c: c["groups"][0]["regions"][1].update(mask=None), r"image 2 must have run lengths for 5 x 7 px"),
        (lambda c: c["groups"][0]["tests"]["follows"].pop("interval"), r"test follows must have a share, an interval"),
    ],
)
def test_damaged_files_are_refused_in_a_line(groups, tmp_path, change, message):
    path = tmp_path / "groups.json"
    write_groups(path, groups)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        read_groups(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).endswith("run looksharp suspects again")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_or_no_json(tmp_path):
    with pytest.raises(ValueError, match=r"groups\.json does not exist; looksharp suspects RUN --out \S+ writes it$"):
        read_groups(tmp_path / "groups.json")
    (tmp_path / "groups.json").write_text("{")
    with pytest.raises(ValueError, match=r"groups\.json is not JSON: .*; run looksharp suspects again$"):
        read_groups(tmp_path)
