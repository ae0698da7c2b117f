"""Maps on the page are those that `explain` writes, and answers those that `evaluate` measures."""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.build import build_data
from looksharp.evaluation.run import evaluate_run
from looksharp.explaining.explain import explain
from looksharp.studio.class_maps import MapsAsked, image_maps, layer_names, mechanism_names
from looksharp.studio.predictions import Predictor
from looksharp.training import load_run


@pytest.fixture(scope="module")
def opened(small_run):
    run = load_run(small_run, device="cpu")
    return run, build_data(run.config.data, run.config.training.seed)


def test_maps_are_of_the_classes_that_explain_names(opened, tmp_path):
    run, data = opened
    split = data.splits["unbiased"]
    image = split.image(3).permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / "image.png")
    _, written = explain(run, [tmp_path / "image.png"], tmp_path, classes="top3", progress=False)
    kept = np.load(written)
    found = image_maps(run, split, 3, MapsAsked(classes="top3"))
    titles = [f"{name} {share:.0%}" for name, share in zip(kept["classes"], kept["probabilities"], strict=True)]
    assert [each.title for each in found.maps[:3]] == titles
    assert found.layer == str(kept["layer"])
    true = run.classes[int(split.targets[3])]
    assert {each.title.split()[0] for each in found.maps if each.true} == {true}
    assert sum(each.true for each in found.maps) == 1


def test_any_layer_and_mechanism_and_one_line_where_there_is_none(opened):
    run, data = opened
    split = data.splits["unbiased"]
    assert {"", "grad_cam", "rise"} <= mechanism_names(run).keys()
    inner = next(name for name in layer_names(run) if name.startswith("stage2"))
    found = image_maps(run, split, 0, MapsAsked("1, 7", "layer_cam", inner, signed=True))
    assert found.layer == inner
    assert [each.title.split()[0] for each in found.maps][:2] == ["1", "7"]
    for asked in (MapsAsked("nothing"), MapsAsked(layer="nowhere"), MapsAsked(mechanism="nothing")):
        with pytest.raises(ValueError, match="no"):
            image_maps(run, split, 0, asked)


def test_answers_are_those_of_an_evaluation_and_are_kept(opened, tmp_path):
    run, data = opened
    asked = []

    def compute(function, *given):
        asked.append(1)
        return function(*given)

    for batches in (2, 0):  # the second time all is read
        answers = Predictor(tmp_path, compute).of(run, data, "unbiased")
        until = time.monotonic() + 60
        while not answers.finished and time.monotonic() < until:
            time.sleep(0.02)
        assert len(asked) == batches
        asked.clear()
        found = evaluate_run(run, data=data, suites=("classification",), progress=False)["unbiased"]
        assert torch.equal(torch.from_numpy(answers.right).float(), found.per_image["top1"].float())
        torch.testing.assert_close(torch.from_numpy(answers.loss), found.per_image["loss"])
        torch.testing.assert_close(torch.from_numpy(answers.confidence), found.per_image["confidence"])
        assert answers.accuracy == pytest.approx(found.values["top1"])
