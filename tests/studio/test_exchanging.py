"""Interventions of the page, by pictures put together by hand."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from looksharp.data.splits.memory import TensorSplit
from looksharp.marks.marks import Marks
from looksharp.studio.exchanging import another, intervened
from looksharp.training.folder import Run
from looksharp.training.settings import RunConfig

SIDE = 32
CLASSES = ("red", "green", "blue")


class Colours(nn.Module):
    """Reads how much there is of each colour."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(4.0))

    def forward(self, images):
        return self.weight * images.mean((2, 3))


@pytest.fixture
def run(pixels):
    return Run(None, RunConfig(), Colours().eval(), CLASSES, pixels, multilabel=False, seconds=0.0)


@pytest.fixture
def pixels():
    from looksharp.data.split import Pixels

    return Pixels((SIDE, SIDE), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture
def split():
    """A red square on black, marked; all blue; a red square and no mark."""
    images = torch.zeros(3, 3, SIDE, SIDE, dtype=torch.uint8)
    images[0, 0, 8:16, 8:16] = images[2, 0, 20:28, 4:12] = 255
    images[1, 2] = 255
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[8:16, 8:16] = True
    return TensorSplit(torch.tensor([0, 2, 0]), Marks([0], [0], [mask]), images=images)


def decoded(address):
    content = base64.b64decode(address.partition("base64,")[2])
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)
    times = len(pixels) // SIDE  # it is enlarged
    return pixels[times // 2 :: times, times // 2 :: times]


def is_colour(pixels, colour):
    """Whether pixels have a colour, but for what WebP loses."""
    return bool((abs(pixels[..., :3] - np.array(colour)) <= 12).all())


def share(picture, label):
    """The answer that the network gives to what is seen, in words."""
    odds = np.exp(4 * picture[..., :3].mean((0, 1)) / 255)
    return float(odds[label] / odds.sum())


def test_the_object_is_moved_into_the_other_surroundings(run, split):
    found = intervened({"a": run, "b": run}, split, 0, 1, "mark", (4, -2))
    own, moved, alone, gone = (decoded(each.picture) for each in found)
    assert [each.title for each in found[:2]] == [
        "The image, class red; outlined: its mark",
        "In the surroundings of 1, class blue",
    ]
    assert is_colour(own[10:14, 10:14], (255, 0, 0))
    assert is_colour(moved[12:20, 6:14], (255, 0, 0))  # four down, two to the left
    far = np.ones((SIDE, SIDE), bool)
    far[11:21, 5:15] = False  # but for an edge of a pixel
    assert is_colour(moved[far], (0, 0, 255))
    assert is_colour(alone[8:16, 8:16], (255, 0, 0))
    assert is_colour(alone[18:, 18:], (0, 0, 0))
    assert is_colour(gone, (0, 0, 0))
    for each, picture in zip(found[1:], (moved, alone, gone), strict=True):
        assert list(each.answers) == ["a", "b"]
        for answer in each.answers.values():
            name, _, percent = answer.rpartition(" ")
            label = CLASSES.index(name)
            assert share(picture, label) == max(share(picture, other) for other in range(3))
            assert float(percent.rstrip("%")) / 100 == pytest.approx(share(picture, label), abs=0.02)


def test_what_is_dragged_is_the_object_where_it_lies(run, split):
    _, moved, *others = intervened({"a": run}, split, 0, 1, "mark", (4, -2))
    piece = decoded(moved.piece)
    expected = np.zeros((SIDE, SIDE), bool)
    expected[12:20, 6:14] = True
    np.testing.assert_array_equal(piece[..., 3] == 255, expected)
    np.testing.assert_array_equal(piece[..., 3] == 0, ~expected)
    assert (piece[expected][:, :3] == (255, 0, 0)).all()
    assert [each.piece for each in others] == ["", ""]
    _, moved, *_ = intervened({"a": run}, split, 0, 1, "mark", (20, 0))  # half of it has left the image
    piece = decoded(moved.piece)
    assert (piece[28:, 8:16, 3] == 255).all()
    assert (piece[..., 3] == 255).sum() == 4 * 8


def test_without_a_mark_the_evidence_is_cut_out(run, split):
    own, moved, *_ = intervened({"a": run}, split, 2, 1, "mark")
    assert own.title == "The image, class red; outlined: the evidence"
    assert (decoded(moved.piece)[..., 3] == 255)[20:28, 4:12].mean() > 0.5
    own, *_ = intervened({"a": run}, split, 0, 1, "evidence")
    assert own.title == "The image, class red; outlined: the evidence"


def test_what_cannot_be_is_one_line(run, split, pixels):
    from dataclasses import replace

    other = replace(run, pixels=replace(pixels, size=(64, 64)))
    with pytest.raises(ValueError, match="read images of other sizes"):
        intervened({"a": run, "b": other}, split, 0, 1, "mark")
    with torch.no_grad():
        run.model.weight.zero_()
    with pytest.raises(ValueError, match="nothing can be cut out of image 2: it has no evidence for a class; mark it"):
        intervened({"a": run}, split, 2, 1, "mark")


def test_the_surroundings_that_are_chosen_at_first_are_of_another_class():
    targets = torch.tensor([0, 0, 1, 0, 2])
    assert [another(targets, place) for place in range(5)] == [2, 2, 3, 4, 0]
    several = torch.tensor([[1, 0], [1, 0], [1, 1]])
    assert [another(several, place) for place in range(3)] == [2, 2, 0]
    assert another(torch.zeros(3), 2) == 0
