import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.comparison.charts import comparison_charts
from looksharp.comparison.drawings import draw_projection
from looksharp.comparison.page import SECTIONS, write_comparison
from looksharp.comparison.results import Comparison, Cost, Gallery, MethodFacts, Projection, Scene
from looksharp.comparison.tables import cost_rows, entry_table, summary_of
from looksharp.drawing.charts import bars, curves
from looksharp.drawing.panel import Panel
from looksharp.experiments.differences import Entry

METHODS = ("plain", "A & <b>", "third")
NAN = math.nan
VOID = {"meta", "link", "img", "source"}


def entry(split, metric, method, mean, std=0.02, checkpoint="last", **others):
    return Entry(checkpoint, split, metric, method, 3, mean, std, **others)


@pytest.fixture(scope="module")
def comparison():
    entries = []
    for checkpoint in ("last", "best"):
        for split, gain in {"test": 0.05, "hard": -0.03}.items():
            for metric in ("top1", "attention_inside", "overlap_last", "a_new_one"):
                entries.append(entry(split, metric, "plain", 0.5, checkpoint=checkpoint))
                change = {
                    "difference": gain,
                    "low": gain - 0.01,
                    "high": gain + 0.01,
                    "p_value": 1e-5,
                    "p_corrected": 4e-4,
                    "test": "Wilcoxon",
                }
                entries.append(
                    entry(split, metric, "A & <b>", 0.5 + gain, checkpoint=checkpoint, **change, significant=True)
                )
                change |= {"low": -0.2, "high": 0.2, "p_corrected": 0.25}
                entries.append(entry(split, metric, "third", 0.5 + gain, NAN, checkpoint=checkpoint, **change))
    curves = {"epoch": [1, 2], "seconds": [1.0, 2.0], "train_loss": [2.0, 1.0], "val_top1": [0.3, 0.5]}
    methods = []
    for name in METHODS:
        cost = Cost(75.0, 2.0, 2, 1_230_000, 4.1e9, 0.0123, "val_top1", 0.4, 1)
        terms = curves | ({"train_separation_last": [0.5, 0.25]} if name == "third" else {})
        faster = terms | {"train_loss": [3.0, 0.5]}
        methods.append(MethodFacts(name, ("r0", "r1"), (0, 1), {"objective": name, "lr": None}, cost, (terms, faster)))
    chart = {"probability": [0, 0.5, 1], "target": [0, 0.25, 1], "confused": [0, 0.75, 1], "margin": 0.5, "at": 0.5}
    pair = {"true": "cat", "taken": "dog", "classes": [0, 1], "count": 7, "images": 20, "overlap": 0.1234}
    return Comparison(
        data="pets",
        classes=("cat", "dog", "$cow"),
        images={"test": 1200, "hard": 30},
        shown="hard",
        methods=tuple(methods),
        entries=tuple(entries),
        procedure="How it is computed.",
        separation={split: {name: chart for name in METHODS} for split in ("test", "hard")},
        confused_pairs={name: [pair, pair | {"overlap": None}] for name in METHODS},
        versions={"torch": "2.15"},
    )


def make_scene(name, methods, count, title):
    generator = torch.Generator().manual_seed(len(name))
    mask = torch.zeros(48, 48, dtype=torch.bool)
    mask[10:30, 10:30] = True
    rows = {}
    for method in methods:
        panels = [Panel(f"class {i} {9 - i}0%", torch.rand(6, 6, generator=generator), i == 1) for i in range(count)]
        rows[method] = tuple(panels)
    return Scene(name, title, torch.rand(3, 48, 48, generator=generator), mask, rows)


@pytest.fixture(scope="module")
def gallery():
    changed = {
        method: {
            "most improved": [make_scene(f"improved-{n}-1", ("plain", method), 5, f"cat (image {n}): 5% → 90%")],
            "most harmed": [make_scene(f"harmed-{n}-2", ("plain", method), 6, f"dog (image {n}): 90% → 5%")],
        }
        for n, method in enumerate(METHODS[1:])
    }
    labels = torch.arange(30) % 3
    points = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    return Gallery(
        changed,
        [make_scene("confused-0-1", METHODS, 3, "cat taken for dog")],
        [make_scene("layers-0", METHODS, 2, "cow (image 0)")],
        {name: Projection(points, labels) for name in METHODS},
    )


class Page(HTMLParser):
    """Tags, headings, text, and cells of tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.headings, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def out(comparison, gallery, tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison") / "new"
    assert write_comparison(out, comparison, gallery) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def text(out):
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_asks_nothing_of_a_network_and_runs_nothing(page, text):
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "href", "poster", "action", "data"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "embed", "base", "form"})
    assert "url(" not in text
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_structure_serves_every_reader(page):
    assert page.of("html") == [{"lang": "en"}]
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    texts = [attributes["alt"] for attributes in page.of("img")]
    assert all(texts)
    assert len(set(texts)) == len(texts)
    scrolled = [a for a in page.of("div") if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in scrolled)
    labels = [a["aria-label"] for a in scrolled]
    assert len(set(labels)) == len(labels)
    identifiers = {a["id"] for _, a in page.tags if "id" in a}
    assert {a["aria-labelledby"] for a in page.of("section")} == identifiers == set(SECTIONS)
    assert {a["href"].removeprefix("#") for a in page.of("a")} == identifiers


def test_names_are_escaped(page, text):
    assert "A & <b>" in page.text
    assert "A & <b>" not in text


def test_every_metric_is_there_known_or_not(page):
    for label in ("Accuracy", "Attention on the object", "Overlap of true and most confused class", "A new one"):
        assert label in page.text


def test_what_is_significant_is_marked(comparison, text):
    rows = entry_table(comparison, "last", "top1").rows
    assert [cell.text for cell in rows["A & <b>"]] == ["55.0%", "47.0%"]
    assert [cell.spread for cell in rows["plain"]] == ["± 2.0", "± 2.0"]
    assert [cell.spread for cell in rows["third"]] == ["", ""]
    assert [cell.difference for cell in rows["A & <b>"]] == ["+5.0", "−3.0"]
    assert [cell.interval for cell in rows["A & <b>"]] == ["+4.0 to +6.0", "−4.0 to −2.0"]
    assert [cell.interval for cell in rows["third"]] == ["−20.0 to +20.0"] * 2
    assert [cell.p_value for name in METHODS for cell in rows[name]] == [""] * 2 + ["p < .001"] * 2 + ["p = .250"] * 2
    assert [cell.verdict for cell in rows["A & <b>"]] == ["better", "worse"]
    assert [cell.verdict for cell in rows["third"]] == ["same", "same"]
    assert [cell.significant for name in METHODS for cell in rows[name]] == [False] * 2 + [True] * 2 + [False] * 2
    overlap = entry_table(comparison, "best", "overlap_last").rows["A & <b>"]
    assert [(cell.text, cell.difference, cell.verdict) for cell in overlap] == [
        ("0.550", "+0.050", "worse"),  # lower is better
        ("0.470", "−0.030", "better"),
    ]
    unknown = entry_table(comparison, "last", "a_new_one").rows["A & <b>"]
    assert [(cell.verdict, cell.best, cell.significant) for cell in unknown] == [("same", False, True)] * 2
    assert text.count('aria-label="significant"') == sum(e.significant for e in comparison.entries)


def test_a_split_without_a_value_is_left_out(comparison):
    entries = [replace(e, mean=NAN) if e.split == "hard" else e for e in comparison.entries]
    table = entry_table(replace(comparison, entries=tuple(entries)), "last", "top1")
    assert table.splits == ("test",)
    assert [len(cells) for cells in table.rows.values()] == [1, 1, 1]


def test_summary_says_what_was_found(comparison):
    assert summary_of(comparison) == (
        "Accuracy on hard: plain reaches 50.0%. "
        "A & <b> reaches 47.0% (−3.0 points, 95% interval −4.0 to −2.0: a significant difference). "
        "third reaches 47.0% (−3.0 points, 95% interval −20.0 to +20.0: not a significant difference)."
    )
    assert summary_of(replace(comparison, entries=())) == ""


def test_costs(comparison):
    heads, rows = cost_rows(comparison.methods)
    cells = ["1 min 15 s ± 2.0 s", "× 1.00", "2", "1.23 M", "4.1 G", "12.3 ms", "40.0% (epoch 1)"]
    assert rows["plain"] == cells
    assert len(heads) == len(cells)
    nothing = tuple(replace(method, cost=Cost()) for method in comparison.methods)
    assert cost_rows(nothing)[1]["plain"] == ["–"] * 7
    early = replace(comparison.methods[0], cost=replace(comparison.methods[0].cost, score_then=NAN, epochs_then=0))
    assert cost_rows([early])[1]["plain"][-1] == "– (no epoch ended)"


def test_scenes_are_shown_with_the_true_class_framed(page, gallery):
    scenes = [s for kinds in gallery.changed.values() for found in kinds.values() for s in found]
    scenes += [*gallery.confused, *gallery.layers]
    panels = [panel for scene in scenes for row in scene.rows.values() for panel in row]
    figures = [a["class"] for a in page.of("figure") if a["class"] != "image"]
    assert figures == ["map true" if panel.emphasis else "map" for panel in panels]
    for scene in scenes:
        assert scene.title in page.text
    assert "cat (image 1): 5% → 90%: third, class 1 80%" in [a["alt"] for a in page.of("img")]


def test_confused_pairs(page):
    cells = re.sub(r"\s+", " ", page.text)
    assert "cat dog 7 of 20 0.123" in re.sub(r"(?<=cat)(?=dog)|(?<=dog)(?=7)|(?<=20)(?=0)", " ", cells)
    assert "7 of 20–" in cells


def test_figures_are_files(out, gallery):
    names = {path.name for path in (out / "figures").iterdir()}
    charts = {"score", "time", "separation-test", "separation-hard", "projection-1", "projection-2", "projection-3"}
    charts |= {"curve-train_loss", "curve-val_top1", "curve-train_separation_last"}
    pictures = {"improved-0-1", "improved-1-1", "harmed-0-2", "harmed-1-2", "confused-0-1", "layers-0"}
    assert names == {f"{name}.svg" for name in charts} | {f"{name}.png" for name in pictures}
    for name in pictures:
        with Image.open(out / "figures" / f"{name}.png") as image:
            assert np.asarray(image.convert("RGB")).std() > 10
    assert all((out / "figures" / f"{name}.svg").read_text().rstrip().endswith("</svg>") for name in charts)


def test_charts_tell_their_numbers(comparison, gallery):
    charts = comparison_charts(comparison, gallery.projections)
    assert (
        "At the end: plain 0.750, A & <b> 0.750, third 0.750." in charts["curve"]["curve-train_loss"].alt
    )  # mean of 1 and 0.5
    assert "At the end: third 0.250." in charts["curve"]["curve-train_separation_last"].alt
    assert "plain 0.50 at 0.50" in charts["separation"]["separation-hard"].alt
    for chart in (chart for kind in charts.values() for chart in kind.values()):
        assert chart.on_light != chart.on_dark


def test_little_is_enough(comparison, tmp_path):
    methods = tuple(
        replace(method, curves=({"epoch": [], "seconds": []},), cost=Cost()) for method in comparison.methods
    )
    bare = replace(comparison, methods=methods, entries=(), separation={}, confused_pairs={})
    page = Page(write_comparison(tmp_path, bare, Gallery()).read_text(encoding="utf-8"))
    assert {a["aria-labelledby"] for a in page.of("section")} == {"cost", "made"}
    assert page.of("img") == []


def test_classes_are_named_while_they_are_few():
    projection = Projection(torch.rand(60, 2), torch.arange(60) % 20)
    named = draw_projection(projection, [f"kind {i}" for i in range(20)], False).decode()
    assert named.count('id="text_') == 20
    many = replace(projection, labels=torch.arange(60) % 30)
    assert 'id="text_' not in draw_projection(many, [f"kind {i}" for i in range(30)], False).decode()


def test_bands_and_deviations_are_drawn():
    series = {"plain": ([1, 2], [0.5, 0.6])}
    drawn = curves(series, ylabel="Loss", bands={"plain": ([0.4, 0.5], [0.6, 0.7])}).decode()
    assert "fill-opacity: 0.18" in drawn
    assert "fill-opacity: 0.18" not in curves(series, ylabel="Loss").decode()
    accuracies = {"plain": {"test": 0.5}, "sharp": {"test": 0.6}}
    places = []
    for spreads in (None, {"plain": {"test": 0.2}, "sharp": {"test": NAN}}):
        drawn = bars(accuracies, spreads=spreads).decode()
        places.append(
            [float(re.search(rf"<!-- {t} -->\s*<g [^>]*translate\(([\d.]+)", drawn)[1]) for t in ("50.0%", "60.0%")]
        )
    # A share of 0.2 of an axis of 1.13, most of 360 points wide.
    assert 40 < places[1][0] - places[0][0] < 64
    assert places[1][1] == places[0][1]
