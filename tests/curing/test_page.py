import json
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.curing.budget import Budget
from looksharp.curing.charts import DotGroup, dots, steps
from looksharp.curing.page import write_cure
from looksharp.curing.pictures import draw_examples, show_example
from looksharp.curing.results import Example, Findings, Measured, Shown, Words
from looksharp.curing.verdict import RULE, Verdict
from looksharp.drawing.overlay import overlay
from looksharp.drawing.panel import Panel
from looksharp.experiments.record import Record
from looksharp.experiments.table import Table
from looksharp.interventions.intervene import INTERVENTIONS
from looksharp.training.settings import RunConfig, TrainingConfig

NAMES = ("before", "<b>GAIN", "cure")
SPLITS = ("test", "shifted")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def _found(number, images=60):
    values = {name: 0.05 * place + 0.1 * number for place, name in enumerate(INTERVENTIONS)}
    return SimpleNamespace(
        values=values,
        intervals={name: (value - 0.03, value + 0.04) for name, value in values.items()},
        chance={name: 0.25 for name in values},
        images=torch.arange(images),
        left_out={"mask is empty": 2},
    )


def _measured(number, name):
    values = {"top1": 0.5 + 0.1 * number, "worst_group": 0.2, "attention_inside": 0.3 + 0.2 * number, "loss": 1.0}
    splits = {
        split: {metric: value / (place + 1) for metric, value in values.items()} for place, split in enumerate(SPLITS)
    }
    run = SimpleNamespace(
        path=Path("runs") / str(number),
        config=RunConfig(training=TrainingConfig(epochs=3 + number)),
        seconds=60.0 * (number + 1),
        multilabel=False,
    )
    proofs = {"test": _found(number), "shifted": _found(number, 8)}
    return Measured(name, f"Trained as {name}.", run, 16 * number, splits, proofs)


def _example(number):
    generator = torch.Generator().manual_seed(number)
    mask = torch.zeros(48, 48, dtype=torch.bool)
    mask[10:30, 10:30] = True
    pictures = []
    for place, label in enumerate(("as it is", "surroundings of a dog", "the surroundings alone")):
        coarse = torch.rand(1, 3, 4, 4, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (48, 48), mode="bilinear")[0]
        answers = {name: (f"cat {10 * column + place}%", column != 0) for column, name in enumerate(NAMES)}
        maps = {
            NAMES[0]: Panel("cat over dog", 3 * torch.randn(6, 6, generator=generator)),
            NAMES[1]: Panel("cat over cow", torch.randn(6, 6, generator=generator)),
            NAMES[2]: Panel("cat over dog", torch.zeros(6, 6)),
        }
        pictures.append(Shown(label, image, None if place == 2 else mask, answers, maps if place < 2 else {}))
    return Example(f"Class {number}", tuple(pictures))


WORDS = Words(
    "Is it gone?", {"Network": "small"}, "A test & a page.", "Eight were held out.", {"shifted": "Other colours."}
)


def _findings(**changes):
    columns = tuple(_measured(number, name) for number, name in enumerate(NAMES))
    values = {
        "words": WORDS,
        "data": "shapes",
        "classes": ("cat", "cow", "dog", "emu"),
        "tests": SPLITS,
        "columns": columns,
        "cure": "cure",
        "verdicts": {
            "<b>GAIN": Verdict("not", "Not cured: as it was.", "test", "97% of the map lies there."),
            "cure": Verdict("partly", "Partly cured: so far.", "test"),
        },
        "versions": {"torch": "2.15"},
        "examples": (_example(0), _example(1)),
        "budget": Budget(
            Table(
                tuple(
                    Record(str(n), s, {"test": 0.1 * n + 0.1 * s, "exchanged": 0.5}) for n in (0, 4) for s in (0, 1, 2)
                )
            )
        ),
    }
    return Findings(**(values | changes))


class Page(HTMLParser):
    """What the tests ask of a page: tags, texts, and the rows of its tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.rows, self.inside = [], "", [], False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "tr"

    def handle_data(self, data):
        self.text += data
        if self.inside and data.strip():
            self.rows[-1] += " ".join(data.split()) + "|"

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_cure(tmp_path_factory.mktemp("cure") / "new", _findings())


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text(encoding="utf-8"))


def test_asks_nothing_of_a_network(page, path):
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "href", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "embed", "base", "form"})
    text = path.read_text(encoding="utf-8")
    assert "url(" not in text
    assert "<b>GAIN" not in text  # names are escaped


def test_the_verdict_comes_first_and_every_warning_is_shown(page):
    assert [a["class"] for a in page.of("div") if a.get("class", "").startswith("verdict")] == ["verdict partly"]
    for words in ("Is it gone?", "A test & a page.", "Partly cured: so far.", "Eight were held out.", "Other colours."):
        assert words in page.text
    assert page.text.index("Partly cured") < page.text.index("Not cured: as it was.")
    warnings = [a for a in page.of("div") if a.get("class") == "warning"]
    assert len(warnings) == 1
    assert "Warning, <b>GAIN: 97% of the map lies there." in " ".join(page.text.split())
    assert RULE in page.text


def test_the_price_is_in_the_head(page):
    words = " ".join(page.text.split())
    assert "Accuracy: test 50.0% → 70.0% (+20.0), shifted 25.0% → 35.0% (+10.0)." in words
    assert "It took 32 marked images and 3 min 0 s of training (before: 1 min 0 s)." in words


def test_every_intervention_is_in_its_row(page):
    for place, (name, (title, _)) in enumerate(INTERVENTIONS.items()):
        rows = [row for row in page.rows if row.startswith(f"{title}|")]
        assert len(rows) == 2, name  # a table for each split
        value = 0.05 * place
        cells = [f"{100 * (value + 0.1 * n):.1f}%" for n in range(3)]
        ends = [f"{100 * (value + 0.1 * n - 0.03):.1f} to {100 * (value + 0.1 * n + 0.04):.1f}" for n in range(3)]
        for text in (*cells, *(end.replace("-", "−") for end in ends), "25.0%"):
            assert f"{text}|" in rows[0]
    assert "60 marked images" in page.text
    assert "8 marked images" in page.text


def test_answers_and_marks_stand_below_the_pictures(page):
    words = " ".join(page.text.split())
    assert "before: cat 1% ✗" in words
    assert "cure: cat 22% ✓" in words
    assert len([a for a in page.of("span") if a.get("class") == "answer"]) == 2 * 3 * 3
    texts = [a["alt"] for a in page.of("img")]
    assert all(texts)
    assert len(set(texts)) == len(texts)


def test_costs_and_curve(page):
    assert {"before|0|3|1 min 0 s|", "cure|32|5|3 min 0 s, × 3.0|"} <= set(page.rows)
    assert "4|50.0%|25.2 to 74.8|50.0%|50.0 to 50.0|" in page.rows  # 0.5 ± 4.303 · 0.1 / √3


def test_maps_of_a_picture_share_a_signed_scale_and_nothing_is_stretched():
    example = _example(0)
    (shown, *_) = show_example(example).pictures
    source = example.pictures[0]
    peak = source.maps["before"].attention.abs().max().item()
    for name in NAMES[:2]:
        expected = overlay(source.image, source.maps[name].attention, peak, signed=True)
        assert np.abs(_outside(shown.maps[name].source) - _outside_of(expected)).mean() < 4  # lossy
    own = overlay(source.image, source.maps["<b>GAIN"].attention, signed=True)
    assert np.abs(_outside(shown.maps["<b>GAIN"].source) - _outside_of(own)).mean() > 6
    assert shown.maps["cure"].panel.remark == "no evidence"
    grey = _outside(shown.maps["cure"].source)
    assert np.abs(grey - grey.mean(2, keepdims=True)).mean() < 2


def _outside(source):
    """Pixels of an embedded picture, away from the object's outline."""
    import base64
    from io import BytesIO

    content = base64.b64decode(source.partition(";base64,")[2])
    return _outside_of(np.asarray(Image.open(BytesIO(content)).convert("RGB")))


def _outside_of(pixels):
    return pixels[136:].astype(int)


def test_results_and_figures_are_files(path):
    facts = json.loads((path.parent / "results.json").read_text())
    assert facts["verdicts"]["cure"] == {
        "kind": "partly",
        "sentence": "Partly cured: so far.",
        "split": "test",
        "warning": "",
    }
    assert facts["classifiers"]["cure"]["interventions"]["shifted"]["images"] == 8
    assert facts["classifiers"]["cure"]["interventions"]["test"]["intervals"]["original"] == pytest.approx([0.17, 0.24])
    assert facts["budget"][0] == {"marked": 0, "seed": 0, "test": 0.0, "exchanged": 0.5}
    figures = {file.name for file in (path.parent / "figures").iterdir()}
    assert figures == {
        "interventions.svg", "accuracy.svg", "budget.svg",
        "example-1.png", "example-2.png", "evidence-1.png", "evidence-2.png",
    }  # fmt: skip
    for name in figures:
        assert (path.parent / "figures" / name).stat().st_size > 2000


def test_without_proof_examples_or_curve(tmp_path):
    columns = tuple(Measured(m.name, m.description, m.run, m.marked, m.splits, {}) for m in _findings().columns)
    verdicts = {name: Verdict("unproven", "Not proven: none left.") for name in NAMES[1:]}
    page = Page(
        write_cure(
            tmp_path,
            _findings(
                columns=columns, verdicts=verdicts, examples=(), budget=None, words=replace(WORDS, note="Mark more.")
            ),
        ).read_text()
    )
    assert "Mark more." in page.text
    for words in ("Interventions to look at", "How many marked images it takes", "How the verdict is reached"):
        assert words not in page.text
    assert "Attention on the object" in page.text


def test_a_verdict_by_marks_on_a_split_without_pieces(tmp_path):
    """The proof by pieces is shown first, and the verdict may rest on marks of another split."""
    columns = [_measured(number, name) for number, name in enumerate(NAMES)]
    columns = tuple(replace(each, pieces={"test": each.interventions["test"]}) for each in columns)
    verdicts = {name: Verdict("not", "Not cured: by marks.", "shifted") for name in NAMES[1:]}
    path = write_cure(tmp_path, _findings(columns=columns, verdicts=verdicts))
    page = path.read_text()
    assert "Not cured: by marks." in page
    assert (tmp_path / "figures" / "interventions.svg").is_file()
    assert json.loads((tmp_path / "results.json").read_text())["verdicts"]["cure"]["split"] == "shifted"


def test_charts_take_what_there_is():
    groups = [
        DotGroup("$1", "higher", {"a": (0.5, math.nan, math.nan), "b": (math.nan,) * 3}, 0.1),
        DotGroup("gap", "lower", {"b": (-0.2, -0.3, -0.1)}),
    ]
    for dark in (False, True):
        assert dots(groups, dark=dark).count(b"<svg") == 1
        lines = {"_a": [(0.5, math.nan, math.nan)] * 2, "b": [(0.2, 0.1, 0.3), (0.9, 0.8, 1.0)]}
        assert steps(lines, [0, 1000], xlabel="x", ylabel="y", dark=dark).count(b"<svg") == 1


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page with")
@pytest.mark.parametrize("width", [400, 1100])
def test_a_browser_shows_it(path, tmp_path, width):
    text = path.read_text(encoding="utf-8")
    # Scripts are forbidden on the page: a copy without that policy tells what a browser made of it.
    told = "[document.documentElement.scrollWidth, ...[...document.images].map(i => i.naturalWidth)].join()"
    copy = re.sub(r"<meta http-equiv[^>]*>", "", text).replace(
        "</body>", f"<script>document.title = {told}</script></body>"
    )
    (tmp_path / "copy.html").write_text(copy, encoding="utf-8")
    dom = _browse(tmp_path / "copy.html", tmp_path, width, "--dump-dom").stdout
    wide, *pictures = map(int, re.search(r"<title>([\d,]+)</title>", dom)[1].split(","))
    assert wide <= max(width, 500)  # no narrower window is to be had
    assert len(pictures) == len(Page(text).of("img"))
    assert min(pictures) > 0
    shown = _browse(path, tmp_path, width, f"--screenshot={tmp_path / 'page.png'}")
    assert "CONSOLE" not in shown.stderr
    with Image.open(tmp_path / "page.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 400


def _browse(page, folder, width, *flags):
    return subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"),
            *("--disable-background-networking", f"--user-data-dir={folder / 'profile'}"),
            *(f"--window-size={width},1200", *flags, page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


@pytest.mark.parametrize("classifiers", [1, 8])
def test_the_last_answer_is_in_the_picture(tmp_path, classifiers):
    answers = {f"classifier {number}": ("a 100%", True) for number in range(classifiers)}
    pictures = tuple(Shown("as it is", torch.zeros(3, 48, 48), None, answers) for _ in range(5))
    draw_examples(tmp_path, [Example("Class a", pictures)])
    ink = (np.asarray(Image.open(tmp_path / "example-1.png").convert("L")) < 128).any(1)
    assert not ink[-5:].any()  # nothing is cut at the edge
    lines = np.diff(np.flatnonzero(np.diff(ink.astype(int)) == 1))
    assert len(lines) >= classifiers
