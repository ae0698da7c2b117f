import base64
import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.report import (
    Panel,
    Results,
    RunResult,
    Sample,
    draw_outline,
    overlay,
    picture,
    write_report,
    write_results,
)
from looksharp.report.wording import METRICS

NAMES = ("plain", "ICASC", "GAIN", "GAIN_ext")
SPLITS = ("biased", "unbiased", "conflicting")
VOID = {"meta", "link", "img", "source"}


@pytest.fixture(scope="module")
def results():
    generator = torch.Generator().manual_seed(0)
    runs = []
    for name in NAMES:
        metrics = ("top1", "top5", "worst_group", "loss", "attention_inside", "overlap_last", "consistency", "own")
        splits = {split: {metric: torch.rand((), generator=generator).item() for metric in metrics} for split in SPLITS}
        lines = {"epoch": [1.0, 2.0], "train_loss": [2.0, math.nan], "val_top1": [0.25, 0.5]}
        runs.append(RunResult(name, f"Trained as {name}.", 75.0, lines, splits))
    runs[1].splits["biased"]["attention_inside"] = math.nan
    del runs[2].splits["unbiased"]["worst_group"]
    # Shown alike, so both are the best.
    runs[2].splits["unbiased"]["top1"], runs[3].splits["unbiased"]["top1"] = 0.98701, 0.98704
    for run in runs:
        run.splits["biased"]["top5"] = 1.0  # no one is the best
    return Results(
        title="Where <b>they</b> look",
        summary="A patch & a digit.",
        data="digits",
        classes=tuple("0123456789"),
        settings={"epochs": "2"},
        versions={"torch": "2.15"},
        runs=tuple(runs),
        chance=0.1,
        split_notes={"biased": "The patch tells the class."},
    )


def _samples():
    generator = torch.Generator().manual_seed(1)
    mask = torch.zeros(48, 48, dtype=torch.bool)
    mask[10:30, 10:30] = True
    samples = []
    for number in range(4):
        panels = {}
        for name in NAMES:
            true, other = torch.rand(2, 6, 6, generator=generator)
            panels[name] = (
                Panel(f"{number} ({name} 70%)", true, emphasis=True),
                Panel(f"9 ({name} 20%)", other * (3 if number % 2 else 1 / 3)),
            )
        coarse = torch.rand(1, 3, 4, 4, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (48, 48), mode="bilinear")[0]
        samples.append(Sample(image, f"A {number}", mask if number else None, panels))
    return samples


class Page(HTMLParser):
    """What the tests ask of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.headings, self.tables = [], [], [], {}
        self.text, self.label, self.row = "", None, None
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append((tag, attributes))
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        if tag == "td":
            self.tables[self.label][self.row].append(
                {"value": "", "difference": "", "best": attributes.get("class") == "best", "verdict": ""}
            )

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.text += data
        if not self.open or not data.strip():
            return
        tag, attributes = self.open[-1]
        kind = (attributes.get("class") or "").split(" ")
        if tag == "b" and self.open[-2][0] == "caption":
            self.label = data
            assert data not in self.tables
            self.tables[data] = {}
        elif tag == "th" and attributes.get("scope") == "row":
            self.row = data
            self.tables[self.label][data] = []
        elif kind[0] == "value":
            self.tables[self.label][self.row][-1]["value"] = data
        elif kind[0] == "difference":
            self.tables[self.label][self.row][-1] |= {"difference": data, "verdict": kind[1]}

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def path(results, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    write_report(path, results, _samples())
    return path


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text(encoding="utf-8"))


def _shown(metric, value):
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.1%}" if metric in METRICS and METRICS[metric].percent else f"{value:.3f}"


def _label(metric):
    return METRICS[metric].label if metric in METRICS else metric.capitalize()


def _decoded(source):
    kind, content = source.split(";base64,")
    assert kind == "data:image/webp"
    return np.asarray(Image.open(BytesIO(base64.b64decode(content))).convert("RGB")).astype(int)


def test_asks_nothing_of_a_network(page, path):
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "href", "poster", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "embed", "base", "form"})
    text = path.read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_number_of_the_results_is_in_its_cell(page, results):
    metrics = list(results.runs[0].splits["biased"])
    assert set(page.tables) == {_label(metric) for metric in metrics}
    for metric in metrics:
        for run in results.runs:
            cells = page.tables[_label(metric)][run.name]
            expected = [_shown(metric, run.splits[split].get(metric)) for split in SPLITS]
            assert [cell["value"] for cell in cells] == expected
    for words in ("10.0%", "1 min 15 s", "5 min 0 s", "Trained as GAIN_ext.", "2.15", "A patch & a digit."):
        assert words in page.text


def test_missing_and_nan_are_dashes_and_never_best(page):
    assert page.tables["Attention on the object"]["ICASC"][0]["value"] == "–"
    assert page.tables["Worst group"]["GAIN"][1]["value"] == "–"
    for table in page.tables.values():
        for cells in table.values():
            assert all(cell["value"] != "–" or (not cell["best"] and not cell["difference"]) for cell in cells)
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize("metric", ["top1", "top5", "loss", "attention_inside", "overlap_last", "consistency"])
def test_best_is_marked(page, results, metric):
    for place, split in enumerate(SPLITS):
        values = {run.name: round(run.splits[split][metric], 3) for run in results.runs}
        known = [value for value in values.values() if not math.isnan(value)]
        best = min(known) if metric in ("loss", "overlap_last") else max(known)
        expected = {name for name, value in values.items() if value == best} if len(set(known)) > 1 else set()
        marked = {name for name, cells in page.tables[_label(metric)].items() if cells[place]["best"]}
        assert marked == expected
    assert {n for n, cells in page.tables["Accuracy"].items() if cells[1]["best"]} == {"GAIN", "GAIN_ext"}


def test_unknown_metrics_have_no_best(page):
    assert not any(cell["best"] for cells in page.tables["Own"].values() for cell in cells)


def test_differences_to_the_first_run(page, results):
    assert not any(cell["difference"] for cell in page.tables["Accuracy"]["plain"])
    for run in results.runs[1:]:
        for place, split in enumerate(SPLITS):
            cell = page.tables["Accuracy"][run.name][place]
            points = 100 * (run.splits[split]["top1"] - results.runs[0].splits[split]["top1"])
            assert cell["difference"] == f"{points:+.1f}".replace("-", "−")
            assert cell["verdict"] == ("better" if points > 0 else "worse")
    assert page.tables["Top-5 accuracy"]["GAIN"][0] == {
        "value": "100.0%",
        "difference": "±0.0",
        "best": False,
        "verdict": "same",
    }


def test_pictures_are_the_overlays_on_the_scale_of_their_pair(page):
    shown = [_decoded(a["src"]) for a in page.of("img") if a["src"].startswith("data:image/webp")]
    expected = []
    for sample in _samples():
        pixels = [picture(sample.image)]
        for name in NAMES:
            true, other = (panel.attention for panel in sample.panels[name])
            peak = max(true.max().item(), other.max().item())
            pixels += [overlay(sample.image, m, peak) for m in (true, other)]
        expected += [p if sample.outline is None else draw_outline(p, sample.outline) for p in pixels]
    assert len(shown) == len(expected) == 4 * 9
    for got, wanted in zip(shown, expected, strict=True):
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).mean() < 3  # lossy
    alone = overlay(_samples()[0].image, _samples()[0].panels["plain"][1].attention)
    assert np.abs(shown[2] - alone).mean() > 15


def test_every_picture_has_its_own_alternative_text(page):
    texts = [attributes["alt"] for attributes in page.of("img")]
    assert all(texts)
    assert len(set(texts)) == len(texts)
    assert "A 1: where GAIN looks for the true class, 1 (GAIN 70%)" in texts
    assert "Lines over the epochs: Accuracy, validation. At the end: plain 50.0%" in "".join(texts)


def test_true_class_is_framed(page):
    framed = [a for a in page.of("figure") if a.get("class") == "map true"]
    assert len(framed) == len(_samples()) * len(NAMES)


def test_structure_serves_every_reader(page):
    assert page.of("html") == [{"lang": "en"}]
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    scrolled = [a for a in page.of("div") if a.get("class") == "scroll"]
    assert len(scrolled) == len(page.tables)
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in scrolled)
    identifiers = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert {a["aria-labelledby"] for a in page.of("section")} == set(identifiers)


def test_charts_follow_the_colour_scheme(page):
    dark = page.of("source")
    assert len(dark) == 3  # bars and two curves
    assert all(a["media"] == "screen and (prefers-color-scheme: dark)" for a in dark)
    charts = [a["src"] for a in page.of("img") if a["src"].startswith("data:image/svg+xml")]
    assert len(charts) == 3
    assert set(charts).isdisjoint(a["srcset"] for a in dark)


def test_text_is_escaped(page, path):
    assert "Where <b>they</b> look" in page.text
    assert "Where <b>they" not in path.read_text(encoding="utf-8")


def test_page_is_modest_in_size(path):
    assert path.stat().st_size < 2_000_000


def test_large_images_are_shrunk(results, tmp_path):
    panels = {"GAIN": (Panel("a", torch.rand(7, 7), emphasis=True), Panel("b", torch.zeros(7, 7)))}
    mask = torch.zeros(600, 1000)
    mask[100:500, 100:400] = 1
    write_report(tmp_path / "a.html", results, [Sample(torch.rand(3, 600, 1000), "big", mask, panels)])
    page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
    shown = [a for a in page.of("img") if a["src"].startswith("data:image/webp")]
    assert [(a["width"], a["height"]) for a in shown] == [("256", "154")] * 3
    assert shown[2]["alt"].endswith("b (no evidence)")
    assert "no evidence" in page.text


def test_sparse_results_make_a_page(tmp_path):
    run = RunResult("only", "", math.nan, {}, {})
    sparse = Results("t", "", "", (), {}, {}, (run,), math.nan)
    write_report(tmp_path / "a.html", sparse, [])
    page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert not page.tables
    assert not page.of("img")
    with_scores = replace(run, splits={"test": {"map": 0.5}}, curves={"val_map": [0.1, 0.2]})
    write_report(tmp_path / "b.html", replace(sparse, runs=(with_scores,)), [])
    page = Page((tmp_path / "b.html").read_text(encoding="utf-8"))
    assert page.tables["Mean average precision"]["only"][0]["value"] == "50.0%"
    assert len(page.of("img")) == 2


def test_results_as_json(results, tmp_path):
    write_results(tmp_path / "results.json", results)
    read = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert read["title"] == results.title
    assert read["classes"] == list(results.classes)
    assert [run["name"] for run in read["runs"]] == list(NAMES)
    for run, original in zip(read["runs"], results.runs, strict=True):
        assert run["curves"]["train_loss"] == [2.0, None]
        for split, values in original.splits.items():
            known = {name: None if math.isnan(value) else value for name, value in values.items()}
            assert run["splits"][split] == known


def test_numbers_of_other_kinds_are_written_too(results, tmp_path):
    odd = replace(results.runs[0], splits={"a": {"top1": np.float32(0.5), "loss": torch.tensor(torch.inf)}})
    write_results(tmp_path / "results.json", replace(results, runs=(odd,)))
    read = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert read["runs"][0]["splits"] == {"a": {"top1": 0.5, "loss": None}}


@pytest.mark.parametrize("fails", ["drawing", "moving"])
def test_an_earlier_page_survives_a_failure(results, tmp_path, monkeypatch, fails):
    path, samples = tmp_path / "report.html", _samples()
    path.write_text("earlier")
    if fails == "drawing":
        samples[3] = replace(samples[3], image=samples[3].image * 5)
        with pytest.raises(ValueError, match="undo its normalisation"):
            write_report(path, results, samples)
    else:

        def refuse(*_):
            raise OSError("disk is gone")

        monkeypatch.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match="disk is gone"):
            write_report(path, results, samples)
        with pytest.raises(OSError, match="disk is gone"):
            write_results(path, results)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_refuses_a_sample_of_an_unknown_run(results, tmp_path):
    samples = _samples()
    samples[2].panels["ABN"] = samples[2].panels["GAIN"]
    with pytest.raises(ValueError, match=r"samples\[2\].panels must be of the runs .*; got \['ABN'\]"):
        write_report(tmp_path / "a.html", results, samples)


@pytest.mark.parametrize("count", [0, 2])
def test_refuses_runs_that_cannot_be_told_apart(results, count):
    with pytest.raises(ValueError, match="runs must be one or more, of different names; got"):
        replace(results, runs=results.runs[:1] * count)
