import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from looksharp.curing import demo as demo_module
from looksharp.curing import ticks as ticks_module
from looksharp.curing.demo import METHODS, demo
from looksharp.curing.verdict import judge
from looksharp.data.sets.synthetic import biased_digits
from looksharp.evaluation import evaluate
from looksharp.interventions.intervene import intervene
from looksharp.suspects import read_groups
from looksharp.training import load_run

SPLITS = ("biased", "unbiased", "conflicting")
DECIDING = demo_module._deciding
TINY = {"train_size": 128, "epochs": 1, "progress": False}


@pytest.fixture(scope="module")
def data():
    return biased_digits(rho=0.98, train=128, val=32, test=32)


def all_groups(groups):
    return [group.number for group in groups if group.regions]


@pytest.fixture(scope="module", autouse=True)
def _quick(data):
    """Two steps teach a network no shortcut: all groups are ticked, and none is refused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "build_data", lambda config, seed: data)
        patch.setattr(demo_module, "_deciding", all_groups)
        patch.setattr(ticks_module, "refusals", lambda run, data, groups: {})
        yield


@pytest.fixture(scope="module")
def out(_quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("demonstration") / "demo"
    assert demo(out, seed=3, **TINY) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def results(out):
    return json.loads((out / "results.json").read_text())


def test_a_run_of_every_method(out, results):
    assert {path.name for path in out.iterdir()} == {
        *("cues.json", "figures", "reached.json", "report.html", "results.json", "runs", "suspects")
    }
    assert {path.name for path in (out / "runs").iterdir()} == set(METHODS)
    assert list(results["classifiers"]) == list(METHODS) == ["plain", "ticks", "boxes", "GAIN_ext"]
    ticks = all_groups(read_groups(out / "suspects"))
    for name, (sentence, method) in METHODS.items():
        config = load_run(out / "runs" / name, device="cpu").config
        assert (config.training.seed, config.training.epochs, config.data.settings["train"]) == (3, 1, 128)
        marks = method.marks
        if name == "ticks":
            reached = json.loads((out / "cues.json").read_text())["groups"]["0"]
            marks = replace(marks, cues=str(out / "cues.json"), shortcut=[*ticks, *([0] if reached else [])])
        assert (config.objective, config.marks) == (method.objective, marks)
        found = results["classifiers"][name]
        assert (found["description"], found["marked"]) == (sentence, 60 if name in ("boxes", "GAIN_ext") else 0)
        assert found["ticks"] == (len(ticks) if name == "ticks" else 0)


def test_values_are_those_of_the_runs(out, results, data):
    proofs = {}
    for name, found in results["classifiers"].items():
        run = load_run(out / "runs" / name, device="cpu")
        assert found["splits"].keys() == set(SPLITS)
        expected = evaluate(run.model, data.splits["unbiased"], data.pixels).values
        assert found["splits"]["unbiased"] == pytest.approx(expected, abs=1e-5)
        proofs[name] = {"biased": intervene(run.model, data.splits["biased"], data.pixels)}
        assert found["interventions"]["biased"]["values"] == pytest.approx(proofs[name]["biased"].values)
        assert found["seconds"] == run.seconds
    assert results["cure"] == "boxes"
    for name in ("ticks", "boxes", "GAIN_ext"):
        assert results["verdicts"][name]["sentence"] == judge(proofs["plain"], proofs[name]).sentence


def test_the_report_shows_it(out, results):
    page = (out / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    for word in (
        *METHODS,
        *SPLITS,
        "Find the shortcut, point at it, retrain, prove it",
        "another class&#39;s colour",
        "Nobody looked at the sheet of suspects",
        "A small segmenter learnt the 60 marks",
    ):
        assert word in page
    for name in ("plain", "ticks", "boxes"):
        for split in ("biased", "unbiased"):
            assert f"{results['classifiers'][name]['splits'][split]['top1']:.0%}" in page
    ticks = all_groups(read_groups(out / "suspects"))
    assert f"With {len(ticks)} groups of 128 training images ticked as a shortcut, and no box drawn" in page
    assert "with boxes on 60 images, propagated to the others" in page
    assert results["verdicts"]["boxes"]["sentence"].replace("'", "&#39;") in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_the_groups_whose_piece_decides_are_ticked():
    group = SimpleNamespace(number=4, regions=["a region"], verdict="decides")
    others = [SimpleNamespace(number=n, regions=r, verdict=v) for n, r, v in ((1, [], "decides"), (2, [0], "needed"))]
    assert list(DECIDING([group, *others])) == [4]


def test_it_says_first_how_long_it_takes(out, capsys, monkeypatch):
    monkeypatch.setattr(demo_module, "_seconds_a_step", lambda: 180 / demo_module._STEPS)
    demo(out, seed=3, **TINY | {"progress": True})
    assert capsys.readouterr().err.startswith("About 3 minutes on this machine")


def test_a_demonstration_goes_on_where_it_stopped(out, results):
    (out / "report.html").unlink()
    demo(out, seed=3, **TINY)
    assert json.loads((out / "results.json").read_text()) == results
    assert (out / "report.html").is_file()


def test_a_demonstration_of_other_settings_is_not_overwritten(out):
    before = (out / "report.html").read_bytes()
    with pytest.raises(
        ValueError, match=r"plain holds a run of other settings \(seed 3, now 4\); choose another --out"
    ):
        demo(out, seed=4, **TINY)
    assert (out / "report.html").read_bytes() == before
