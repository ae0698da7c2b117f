"""Paths are given as text or as `Path`, to every public function."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from PIL import Image

import looksharp
from looksharp.comparison import compare
from looksharp.data.sets.synthetic import digits
from looksharp.evaluation import evaluate_run
from looksharp.marks.reading import read_marks
from looksharp.suspects import suspects, write_suspects
from looksharp.training.settings import RunConfig


def public_functions():
    """The functions that looksharp and its rooms export."""
    rooms = [f"looksharp.{room.name}" for room in pkgutil.iter_modules(looksharp.__path__) if room.ispkg]
    found = {}
    for module in map(importlib.import_module, ("looksharp", *rooms)):
        found |= {
            each.__name__: each
            for each in map(module.__getattribute__, getattr(module, "__all__", ()))
            if inspect.isfunction(each)
        }
    return found


FUNCTIONS = public_functions() | {"read_marks": read_marks, "demo": None}


def test_they_are_many():
    expected = {"train", "load_run", "evaluate_run", "cure", "compare", "explain", "suspects", "reproduce"}
    assert expected <= FUNCTIONS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_parameter_that_takes_a_path_takes_text(name):
    function = FUNCTIONS[name] or importlib.import_module("looksharp.curing.demo").demo
    for parameter in inspect.signature(function).parameters.values():
        if "Path" in str(parameter.annotation):
            assert "str" in str(parameter.annotation), parameter


@pytest.fixture(scope="module")
def few():
    return digits(train=32, val=16, test=16)


@pytest.fixture(scope="module")
def run(few, tmp_path_factory):
    """The folder of a run, as text."""
    out = str(tmp_path_factory.mktemp("runs") / "run")
    values = {"digits": {"train": 32}, "device": "cpu", "workers": 0, "epochs": 1, "batch_size": 16}
    looksharp.train(RunConfig.from_flat(values), out, data=few, progress=False)
    return out


def test_a_run_is_trained_into_read_and_measured_by_text(run, few):
    assert looksharp.load_run(run, "best", "cpu").classes == few.classes
    (found,) = evaluate_run(run, data=few, suites=("classification",), device="cpu", workers=0, progress=False).values()
    assert "top1" in found.values


def test_what_is_written_and_read_by_text(run, few, tmp_path):
    found = suspects(run, few, n=4, progress=False)
    written = write_suspects(found, few, str(tmp_path / "suspects"))
    assert all(path.exists() for path in written)
    images = [str(path) for path in (tmp_path / "suspects" / "images").iterdir()]
    drawn = looksharp.explain(run, images, str(tmp_path / "explained"), progress=False)
    assert all(path.exists() for path in drawn)
    mask = np.zeros((48, 48), dtype=np.uint8)
    mask[4:9] = 255
    masks = tmp_path / "masks" / "3"
    masks.mkdir(parents=True)
    Image.fromarray(mask).save(masks / "a.png")
    (mark,) = read_marks(str(tmp_path / "masks"), {"3/a.png": (48, 48)}, ["3"]).marks
    assert mark.mask.sum() == 5 * 48


@pytest.mark.parametrize(
    "call",
    [
        lambda nowhere, out: looksharp.load_run(nowhere),
        lambda nowhere, out: looksharp.cure(nowhere, "data", out),
        lambda nowhere, out: compare([nowhere, nowhere], out),
        lambda nowhere, out: evaluate_run(nowhere),
        lambda nowhere, out: looksharp.explain(nowhere, ["a.png"], out),
        lambda nowhere, out: looksharp.reproduce("icasc/nowhere", out),
        lambda nowhere, out: looksharp.Agreement(backgrounds=nowhere).prepare(None, None, 0),
    ],
)
def test_text_that_names_nothing_is_refused_in_one_line(call, tmp_path):
    with pytest.raises((ValueError, OSError), match="nowhere") as error:
        call(str(tmp_path / "nowhere"), str(tmp_path / "out"))
    assert len(str(error.value).splitlines()) == 1
