import json

import pytest

from looksharp.curing import demo as demo_module
from looksharp.curing.demo import METHODS, demo
from looksharp.curing.verdict import judge
from looksharp.data.sets.synthetic import biased_digits
from looksharp.evaluation import evaluate
from looksharp.interventions.intervene import intervene
from looksharp.training import load_run

SPLITS = ("biased", "unbiased", "conflicting")
TINY = {"train_size": 128, "epochs": 1, "progress": False}


@pytest.fixture(scope="module")
def data():
    return biased_digits(rho=0.98, train=128, val=32, test=32)


@pytest.fixture(scope="module")
def out(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("demonstration") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "build_data", lambda config, seed: data)
        assert demo(out, seed=3, **TINY) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def results(out):
    return json.loads((out / "results.json").read_text())


def test_a_run_of_every_method(out, results):
    assert {path.name for path in out.iterdir()} == {"figures", "report.html", "results.json", "runs"}
    assert {path.name for path in (out / "runs").iterdir()} == set(METHODS)
    assert list(results["classifiers"]) == list(METHODS) == ["plain", "GAIN_ext", "cure"]
    for name, (sentence, method) in METHODS.items():
        config = load_run(out / "runs" / name, device="cpu").config
        assert (config.training.seed, config.training.epochs, config.data.settings["train"]) == (3, 1, 128)
        assert (config.objective, config.marks) == (method.objective, method.marks)
        found = results["classifiers"][name]
        assert (found["description"], found["marked"]) == (sentence, 0 if name == "plain" else 6)  # 5%


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
    assert results["cure"] == "cure"
    for name in ("GAIN_ext", "cure"):
        assert results["verdicts"][name]["sentence"] == judge(proofs["plain"], proofs[name]).sentence


def test_the_report_shows_it(out, results):
    page = (out / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    for word in (
        *METHODS,
        *SPLITS,
        "Find the shortcut, mark a few images, retrain, prove it",
        "another class&#39;s colour",
    ):
        assert word in page
    plain, cure = (results["classifiers"][name]["splits"] for name in ("plain", "cure"))
    for values in (plain["biased"], plain["unbiased"], cure["biased"], cure["unbiased"]):
        assert f"{values['top1']:.0%}" in page
    assert "boxes drawn on 6 of its 128 training images" in page
    assert results["verdicts"]["cure"]["sentence"].replace("'", "&#39;") in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_a_demonstration_goes_on_where_it_stopped(out, data, results, monkeypatch):
    monkeypatch.setattr(demo_module, "build_data", lambda config, seed: data)
    (out / "report.html").unlink()
    demo(out, seed=3, **TINY)
    assert json.loads((out / "results.json").read_text()) == results
    assert (out / "report.html").is_file()


def test_a_demonstration_of_other_settings_is_not_overwritten(out, data, monkeypatch):
    monkeypatch.setattr(demo_module, "build_data", lambda config, seed: data)
    before = (out / "report.html").read_bytes()
    with pytest.raises(
        ValueError, match=r"plain holds a run of other settings \(seed 3, now 4\); choose another --out"
    ):
        demo(out, seed=4, **TINY)
    assert (out / "report.html").read_bytes() == before
