import json

import pytest

from looksharp.data.pixels import Pixels
from looksharp.training.facts import RunFacts, read_facts, write_facts

EXACT = Pixels(
    (96, 64),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.5, 1.0),
    fit="shorter",
    resize_size=(101, 67),
    interpolation="lanczos",
    resizer="pil",
    middle="floor",
)


def test_exact_pixels_are_facts_of_a_run(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    write_facts(tmp_path, RunFacts(("a", "b"), EXACT, multilabel=False))
    assert read_facts(tmp_path).pixels == EXACT


def test_facts_of_an_earlier_version_are_read(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    known = {
        "size": [8, 9],
        "mean": [0.1] * 3,
        "std": [0.2] * 3,
        "crop_share": 0.875,
        "value_range": None,
        "fit": "resize",
    }
    (tmp_path / "run.json").write_text(json.dumps({"classes": ["a"], "pixels": known, "multilabel": False}))
    assert read_facts(tmp_path).pixels == Pixels((8, 9), (0.1,) * 3, (0.2,) * 3, 0.875, fit="resize")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"interpolation": "cubic"},
            "pixels.interpolation must be 'bilinear', .*; got 'cubic'; did you mean 'bicubic'",
        ),
        ({"interpolation": "lanczos"}, "interpolation must be bilinear, .* with resizer torch; got 'lanczos'"),
        ({"resizer": "pil", "antialias": False}, "antialias is always on with resizer pil"),
        ({"resize_size": [8, 8], "crop_share": 0.5}, "resize_size takes the place of crop_share; got both"),
        ({"resize_size": [0, 8]}, "resize_size must be 1 to 8192 px; got 0 x 8"),
        ({"resize_size": [7, 8], "middle": "floor"}, "middle must be round where resize_size is below size; got 7 x 8"),
    ],
)
def test_wrong_pixels_are_named_with_their_file(tmp_path, wrong, message):
    (tmp_path / "config.yaml").write_text("")
    values = {"classes": ["a"], "pixels": {"size": [8, 8], **wrong}, "multilabel": False}
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"run.json: {message}"):
        read_facts(tmp_path)
