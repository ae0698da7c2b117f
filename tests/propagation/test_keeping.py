"""What is kept of a propagation, and how training uses it."""

import json
from dataclasses import replace

import pytest
import torch

from looksharp.data.split import Data
from looksharp.propagation import keeping
from looksharp.propagation.keeping import propagated_data, quality_of, share
from looksharp.propagation.propagate import propagate
from looksharp.training.run import train
from looksharp.training.settings import MarksConfig, RunConfig

_FOUND = {}


@pytest.fixture
def quick(monkeypatch):
    """Train a segmenter once for the same marks, and count how often one is asked for."""
    calls = []

    def known(split, pixels, **options):
        calls.append(tuple(split.marks.images))
        if calls[-1] not in _FOUND:
            _FOUND[calls[-1]] = propagate(split, pixels, **options | {"steps": 80})
        return _FOUND[calls[-1]]

    monkeypatch.setattr(keeping, "propagate", known)
    return calls


@pytest.fixture
def data(marked, pixels):
    split, _ = marked
    return Data("squares", ("even", "odd"), {"train": split, "val": split}, pixels, augment="crop")


def test_masks_are_kept_and_read_again(data, tmp_path, quick, capsys):
    first = propagated_data(data, tmp_path)
    said = capsys.readouterr().err
    assert "12 marks propagated to 28 of 28 images" in said
    assert f"look at {tmp_path / 'sheet.png'}" in said
    assert first.notes == {"marks: propagated to images without one": 28}
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    again = propagated_data(data, tmp_path, refused=["30", "31"], progress=False)
    assert len(quick) == 1
    assert again.notes == {
        "marks: propagated to images without one": 26,
        "marks: found by propagation and refused": 2,
    }
    kept, refused = (each.splits["train"].marks for each in (first, again))
    assert set(kept.images) - set(refused.images) == {30, 31}
    assert all(torch.equal(kept.of(place)[0][1], refused.of(place)[0][1]) for place in refused.images)


def test_a_refused_image_is_counted_once(data, tmp_path, quick):
    known = propagated_data(data, tmp_path, progress=False)
    assert known.notes == {"marks: propagated to images without one": 28}
    _FOUND[quick[0]].sure[30] = 0.1
    again = propagated_data(data, tmp_path / "again", refused=["0", "30", "31"], progress=False)
    _FOUND.clear()
    assert again.notes == {
        "marks: propagated to images without one": 26,
        "marks: not propagated to, because the mask found there is unsure": 1,
        "marks: found by propagation and refused": 1,
    }


@pytest.mark.parametrize("content", [b"", b"not a file of arrays", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_made_again(data, tmp_path, quick, content):
    before = propagated_data(data, tmp_path, progress=False).splits["train"].marks
    (tmp_path / "masks.npz").write_bytes(content)
    after = propagated_data(data, tmp_path, progress=False).splits["train"].marks
    assert len(quick) == 2
    assert all(torch.equal(before.of(place)[0][1], after.of(place)[0][1]) for place in before.images)


def test_other_marks_are_propagated_anew(data, tmp_path, quick):
    propagated_data(data, tmp_path, progress=False)
    split = data.splits["train"]
    fewer = replace(data, splits=data.splits | {"train": replace(split, marks=split.marks.restricted(range(8)))})
    assert propagated_data(fewer, tmp_path, progress=False).notes == {"marks: propagated to images without one": 32}


def test_a_refused_name_must_be_a_training_image(data, tmp_path):
    with pytest.raises(ValueError, match="propagate_without names '99', which is no training image"):
        propagated_data(data, tmp_path, refused=["99"], progress=False)


def _config(**more):
    values = {"data": "digits", "objective": "classification+agreement:0.3", "marks": "data", "epochs": 1}
    values |= {"batch_size": 16, "workers": 0, "device": "cpu", "propagate": True, "marked_per_batch": 0}
    return RunConfig.from_flat(values | more)


def test_training_propagates_and_says_so(data, tmp_path, quick):
    train(_config(), tmp_path / "run", data=data, progress=False)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["marked"] == 40
    assert facts["notes"]["marks: propagated to images without one"] == 28
    assert (tmp_path / "run" / "propagated" / "sheet.png").is_file()


def test_an_objective_that_reads_no_marks_needs_no_segmenter(data, tmp_path):
    train(_config(objective="classification"), tmp_path / "run", data=data, progress=False)
    assert not (tmp_path / "run" / "propagated").exists()


def test_settings_that_contradict_each_other():
    with pytest.raises(ValueError, match="propagate needs marks"):
        MarksConfig(propagate=True)
    with pytest.raises(ValueError, match="set propagate too"):
        MarksConfig("data", propagate_without=["3"])


def test_a_run_takes_the_masks_of_another(data, tmp_path, quick):
    first, second = tmp_path / "first", tmp_path / "second"
    assert quality_of(first) == ""
    propagated_data(data, first / "propagated", progress=False)
    share(first, second)
    propagated_data(data, second / "propagated", progress=False)
    assert len(quick) == 1
    assert (second / "propagated" / "sheet.png").is_file()
    assert "marked the object in 28 other training images" in quality_of(second)
    propagated_data(data, second / "propagated", seed=1, progress=False)
    assert len(quick) == 2
