import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from looksharp.data.split import Pixels
from looksharp.evaluation.cue_test import cue_test
from looksharp.training import Run
from looksharp.training.settings import RunConfig


class Colours(nn.Module):
    """Logits: how much red, green and blue there is, 0 at the middle grey."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, images):
        return self.gain * images.mean((2, 3))


def run(multilabel=False):
    pixels = Pixels((8, 8), mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    return Run(None, RunConfig(), Colours().eval(), ("boat", "tree", "water"), pixels, multilabel, seconds=0.0)


def paint(folder, *colours):
    """One image of one colour each, now and then in a folder below."""
    for number, colour in enumerate(colours):
        path = folder / ("below" if number % 3 == 2 else ".") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 12, 3), colour, np.uint8)).save(path)
    (folder / "notes.txt").write_text("no image")
    return folder


RED, GREEN, BLUE, PINK, DARK = (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 200, 200), (90, 10, 10)


@pytest.fixture
def folders(tmp_path):
    boats = paint(tmp_path / "boats", RED, PINK, GREEN, DARK)  # a boat thrice; DARK is red above all, yet below half
    water = paint(tmp_path / "water", BLUE, BLUE, GREEN, PINK, BLUE)  # PINK is taken for a boat
    return boats, water


def test_one_label(folders):
    found = cue_test(run(), "boat", *folders, progress=False)
    assert found == pytest.approx({"without_cue": 3 / 4, "cue_alone": 4 / 5, "overall": 7 / 9})
    found = cue_test(run(), "water", *folders, progress=False)
    assert found == pytest.approx({"without_cue": 0, "cue_alone": 2 / 5, "overall": 2 / 9})


def test_several_labels_are_judged_one_by_one(folders):
    found = cue_test(run(multilabel=True), "boat", *folders, progress=False)
    assert found == pytest.approx({"without_cue": 2 / 4, "cue_alone": 4 / 5, "overall": 6 / 9})
    found = cue_test(run(multilabel=True), "tree", *folders, progress=False)  # PINK is a tree as well
    assert found == pytest.approx({"without_cue": 2 / 4, "cue_alone": 3 / 5, "overall": 5 / 9})


def test_a_reader_of_the_cue_alone_scores_nothing(folders):
    boats, water = folders
    found = cue_test(run(), "boat", paint(water.parent / "lake", BLUE, BLUE), boats, progress=False)
    assert found["without_cue"] == 0
    assert found["cue_alone"] == pytest.approx(1 / 4)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_batch_size_changes_nothing(batch_size, folders):
    assert cue_test(run(), "boat", *folders, batch_size=batch_size, progress=False) == cue_test(
        run(), "boat", *folders, progress=False
    )


def test_errors(folders, tmp_path):
    boats, water = folders
    with pytest.raises(ValueError, match=r"^class 'car' is not one of the run's: boat, tree, water$"):
        cue_test(run(), "car", boats, water)
    with pytest.raises(ValueError, match=r"nowhere does not exist$"):
        cue_test(run(), "boat", tmp_path / "nowhere", water)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no image$"):
        cue_test(run(), "boat", boats, tmp_path / "empty")
    (water / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
        cue_test(run(), "boat", boats, water, progress=False)
