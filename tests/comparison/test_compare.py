import csv
import html
import io
import json
import re
import shutil
import subprocess
from contextlib import redirect_stderr, redirect_stdout

import pytest
import torch
from PIL import Image

from looksharp import cli
from looksharp.comparison.scenes import most_changed
from looksharp.data.build import DataConfig
from looksharp.data.sets.synthetic import digits
from looksharp.evaluation import evaluate_run
from looksharp.training import load_run, train
from looksharp.training.settings import RunConfig, TrainingConfig

METHODS = ("plain", "sharp")
QUICK = {"device": "cpu", "workers": 0, "progress": False}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run folders of two methods, three seeds each."""
    root = tmp_path_factory.mktemp("runs")
    paths = []
    for objective in ("classification", "icasc"):
        for seed in range(3):
            training = TrainingConfig(epochs=2, seed=seed, device="cpu")
            config = RunConfig(
                objective, data=DataConfig("digits", settings={"train": 128, "val": 16, "test": 60}), training=training
            )
            paths.append(root / f"{objective}-{seed}")
            train(config, paths[-1], progress=False)
    return paths


@pytest.fixture(scope="module")
def out(trained, tmp_path_factory):
    """What the command leaves."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    flags = ["--pictures", "1", "--points", "40", "--resamples", "300", "--device", "cpu", "--workers", "0"]
    printed, progress = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(progress):
        status = cli.main(["compare", *map(str, trained), "--out", str(out), "--names", ",".join(METHODS), *flags])
    assert (status, printed.getvalue()) == (0, f"Open {out / 'report.html'} in a browser.\n")
    for bar in ("measuring: 100%", "drawing: 100%"):
        assert bar in progress.getvalue()
    return out


@pytest.fixture(scope="module")
def found(out):
    return json.loads((out / "comparison.json").read_text())


def test_runs_are_grouped_into_methods(found, trained):
    assert [method["name"] for method in found["methods"]] == list(METHODS)
    assert [method["seeds"] for method in found["methods"]] == [[0, 1, 2]] * 2
    assert [run for method in found["methods"] for run in method["runs"]] == list(map(str, trained))
    assert found["methods"][1]["settings"]["objective"] == "icasc"


def test_numbers_are_those_of_the_runs(found, trained):
    data = digits(128, 16, 60, 0)
    entries = {(e["checkpoint"], e["metric"], e["method"]): e for e in found["entries"]}
    for checkpoint in ("last", "best"):
        seeds = {
            method: [evaluate_run(path, data=data, checkpoint=checkpoint, **QUICK)["test"] for path in paths]
            for method, paths in zip(METHODS, (trained[:3], trained[3:]), strict=True)
        }
        for metric in ("top1", "loss", "attention_inside", "overlap_last", "ks_margin", "calibration_error"):
            for method in METHODS:
                values = torch.tensor([seed.values[metric] for seed in seeds[method]], dtype=torch.float64)
                entry = entries[checkpoint, metric, method]
                assert entry["mean"] == pytest.approx(values.mean().item(), abs=1e-6)
                assert entry["std"] == pytest.approx(values.std().item(), abs=1e-6)
    assert found["images"] == {"test": 60}
    assert f"All {sum(e['p_value'] is not None for e in found['entries'])} p-values" in found["procedure"]


def test_costs_and_curves_are_those_of_the_runs(found, trained):
    for method, paths in zip(found["methods"], (trained[:3], trained[3:]), strict=True):
        assert method["cost"]["seconds"] == pytest.approx(sum(load_run(p, device="cpu").seconds for p in paths) / 3)
        assert method["cost"]["parameters"] == sum(
            p.numel() for p in load_run(paths[0], device="cpu").model.parameters()
        )
        assert method["cost"]["epochs"] == 2
        for curves, path in zip(method["curves"], paths, strict=True):
            history = load_run(path, device="cpu").history
            assert curves["train_loss"] == [row["train_loss"] for row in history]
    assert "train_separation_last" in found["methods"][1]["curves"][0]
    assert min(method["cost"]["epochs_then"] for method in found["methods"]) <= 2


def test_the_table_is_in_a_file_too(out, found):
    rows = list(csv.DictReader((out / "comparison.csv").read_text().splitlines()))
    assert len(rows) == len(found["entries"])
    tex = (out / "comparison.tex").read_text()
    assert tex.count(r"\midrule") == 2
    top1 = next(e for e in found["entries"] if e["metric"] == "top1")
    assert rf"{100 * top1['mean']:.1f}" in tex


def test_every_figure_is_a_file(out):
    names = {path.name for path in (out / "figures").iterdir()}
    curves = {"train_loss", "train_classification", "train_consistency", "train_separation_inner"}
    curves |= {"train_separation_last", "val_loss", "val_top1"}
    assert {f"curve-{name}.svg" for name in curves} <= names
    assert {"score.svg", "time.svg", "separation-test.svg", "projection-1.svg", "projection-2.svg"} <= names
    for kind in ("improved-1", "harmed-1", "confused", "layers"):
        (picture,) = [name for name in names if name.startswith(f"{kind}-")]
        with Image.open(out / "figures" / picture) as image:
            assert min(image.size) > 300


def test_the_images_that_changed_most_are_shown(out, trained):
    data = digits(128, 16, 60, 0)
    first, other = (
        evaluate_run(path, data=data, **QUICK)["test"].per_image["true_probability"]
        for path in (trained[0], trained[3])
    )
    page = (out / "report.html").read_text()
    for images in most_changed(first, other, 1):
        (image,) = images
        target = int(data.splits["test"].targets[image])
        assert f"{target} (image {image}): {first[image]:.0%} → {other[image]:.0%}</h4>" in page


def test_errors_are_one_line(trained, tmp_path, capsys):
    assert cli.main(["compare", str(trained[0]), str(trained[1]), "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "looksharp: error: runs must be of two methods or more; these 2 differ in nothing but their seed"
    assert cli.main(["compare", str(trained[0]), str(trained[3]), "--resamples", "9", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "looksharp: error: resamples must be at least 100 and at most 1000000; got 9\n"
    for flag, value, told in (
        ("resamples", 10**11, "at least 100 and at most 1000000"),
        ("pictures", -1, "at least 0 and at most 1000"),
        ("pictures", 10**9, "at least 0 and at most 1000"),
        ("points", -1, "at least 0 and at most 100000"),
        ("points", 10**9, "at least 0 and at most 100000"),
    ):
        runs = [str(trained[0]), str(trained[3])]
        assert cli.main(["compare", *runs, f"--{flag}", str(value), "--out", str(tmp_path)]) == 2
        assert capsys.readouterr().err == f"looksharp: error: {flag} must be {told}; got {value}\n"
    assert list(tmp_path.iterdir()) == []


# In a browser -----------------------------------------------------------------------------------------------------

LOOK = """
<iframe src="out/report.html" width="{width}" height="900"></iframe>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  const shown = [...page.images].map(image => [image.complete, image.naturalWidth, image.alt]);
  const found = {{title: page.title, images: shown, wide: page.documentElement.scrollWidth}};
  document.body.innerText = "FOUND" + JSON.stringify(found) + "END";
}};
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [400, 1100])
def test_the_page_in_a_browser(out, tmp_path, width):
    frame = out.parent / f"frame-{width}.html"
    frame.write_text(LOOK.format(width=width))
    call = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--proxy-server=127.0.0.1:9",  # nothing is reached
        "--allow-file-access-from-files",  # of the frame, to look into the page
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=10000",
        "--dump-dom",
        frame.as_uri(),
    ]
    done = subprocess.run(call, check=True, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    seen = json.loads(html.unescape(re.search("FOUND(.*)END", done.stdout)[1]))
    assert seen["title"] == "sharp against plain"
    assert len(seen["images"]) == (out / "report.html").read_text().count("<img ")
    assert [alt for complete, pixels, alt in seen["images"] if not complete or not pixels] == []
    assert seen["wide"] <= width  # nothing but tables is scrolled sideways


def test_the_page_is_of_modest_size(out):
    assert (out / "report.html").stat().st_size < 15_000_000
