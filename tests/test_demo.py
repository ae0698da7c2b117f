import json

import pytest
import torch

from looksharp import demo as demo_module
from looksharp.data.synthetic import biased_digits
from looksharp.demo import METHODS, demo
from looksharp.evaluation import evaluate
from looksharp.training import load_run

SPLITS = ("biased", "unbiased", "conflicting")


@pytest.fixture(scope="module")
def data():
    return biased_digits(rho=0.98, train=128, val=32, test=32)


@pytest.fixture(scope="module")
def out(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("demonstration") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "build_data", lambda config, seed: data)
        assert demo(out, seed=3, train_size=128, epochs=1, progress=False) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def results(out):
    return json.loads((out / "results.json").read_text())


def test_a_run_of_every_method(out, results):
    assert {path.name for path in out.iterdir()} == {"report.html", "results.json", "runs"}
    assert {path.name for path in (out / "runs").iterdir()} == set(METHODS)
    assert [run["name"] for run in results["runs"]] == list(METHODS)
    for name, (sentence, method) in METHODS.items():
        config = load_run(out / "runs" / name, device="cpu").config
        assert (config.training.seed, config.training.epochs, config.data.train_size) == (3, 1, 128)
        assert (config.objective, config.guidance) == (method.objective, method.guidance)
        (result,) = [run for run in results["runs"] if run["name"] == name]
        assert result["description"] == sentence


def test_values_are_those_of_the_runs(out, results, data):
    for result in results["runs"]:
        run = load_run(out / "runs" / result["name"], device="cpu")
        assert result["splits"].keys() == set(SPLITS)
        expected = evaluate(run.model, data.splits["unbiased"], data.pixels)
        assert result["splits"]["unbiased"] == pytest.approx(expected, abs=1e-5)
        (row,) = run.history
        assert result["curves"] == {k: [v] for k, v in row.items() if k not in ("seconds", "lr", "epoch")} | {
            "epoch": [1]
        }
        assert result["seconds"] == run.seconds


def test_facts_and_summary(results):
    assert results["chance"] == 0.1
    assert results["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert results["settings"] == {
        "Training images": "128",
        "Images in each test split": "32",
        "Network": "small",
        "Epochs": "1",
        "Seed": "3",
    }
    assert results["split_notes"].keys() == set(SPLITS)
    plain, guided = results["runs"][0]["splits"], results["runs"][-1]["splits"]
    for value in (plain["biased"], plain["unbiased"], guided["biased"], guided["unbiased"]):
        assert f"{value['top1']:.0%}" in results["summary"]
    assert "boxes drawn on 6 of its 128 training images" in results["summary"]  # 5%


def test_the_report_shows_it(out, results):
    page = (out / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    for word in (*METHODS, *SPLITS, results["title"], "GAIN", "beside another class"):
        assert word in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_a_demonstration_goes_on_where_it_stopped(out, data, results, monkeypatch):
    monkeypatch.setattr(demo_module, "build_data", lambda config, seed: data)
    (out / "report.html").unlink()
    demo(out, seed=3, train_size=128, epochs=1, progress=False)
    again = json.loads((out / "results.json").read_text())
    assert [run["splits"] for run in again["runs"]] == [run["splits"] for run in results["runs"]]
    assert (out / "report.html").is_file()


def test_a_demonstration_of_other_settings_is_not_overwritten(out, data, monkeypatch):
    monkeypatch.setattr(demo_module, "build_data", lambda config, seed: data)
    before = (out / "report.html").read_bytes()
    with pytest.raises(ValueError, match="plain holds a run of other settings; choose another --out, or remove it"):
        demo(out, seed=4, train_size=128, epochs=1, progress=False)
    assert (out / "report.html").read_bytes() == before
