import csv
import json
import math
import shutil
import subprocess

import pytest

from looksharp.comparison.exporting import latex_table, write_tables
from looksharp.comparison.results import Comparison, Cost, MethodFacts
from looksharp.experiments.differences import Entry

NAN = math.nan


@pytest.fixture
def comparison():
    entries = [
        Entry("last", "test", "top1", "plain_1", 3, 0.8123, 0.01),
        Entry("last", "test", "top1", "50% & $x$", 1, 0.8523, NAN, 0.04, 0.01, 0.07, 0.001, 0.004, "sign-flip", True),
        Entry("last", "hard_er", "top1", "plain_1", 3, 0.5, 0.02),
        Entry("last", "hard_er", "top1", "50% & $x$", 1, 0.4996, NAN, -0.0004, -0.1, 0.1, 0.9, 1.0, "sign-flip"),
        Entry("last", "test", "overlap_last", "plain_1", 3, 0.25, 0.1),
        Entry("last", "test", "overlap_last", "50% & $x$", 1, 0.125, NAN, -0.125, -0.2, 0.01, 0.04, 0.2, "Wilcoxon"),
        Entry("last", "test", "my_own#metric", "plain_1", 3, NAN, NAN),
        Entry("last", "test", "my_own#metric", "50% & $x$", 1, 2.0, NAN),
        Entry("best", "test", "top1", "plain_1", 3, 0.9, 0.01),
        Entry("best", "test", "top1", "50% & $x$", 1, 0.8, NAN, -0.1, NAN, NAN),
    ]
    methods = [
        MethodFacts(name, ("r",), (0,), {"lr": 0.1}, Cost(), ({"epoch": [1]},)) for name in ("plain_1", "50% & $x$")
    ]
    return Comparison(
        "digits", ("a", "b"), {"test": 100, "hard_er": 50}, "test", tuple(methods), tuple(entries),
        "Of 95% intervals.", {}, {}, {},
    )  # fmt: skip


def test_csv_holds_every_entry(comparison, tmp_path):
    write_tables(tmp_path, comparison)
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert len(rows) == len(comparison.entries)
    for row, entry in zip(rows, comparison.entries, strict=True):
        assert (row["checkpoint"], row["split"], row["metric"], row["method"]) == (
            entry.checkpoint, entry.split, entry.metric, entry.method,
        )  # fmt: skip
        for name in ("mean", "std", "difference", "low", "high", "p_value", "p_corrected"):
            value = getattr(entry, name)
            assert row[name] == ("" if math.isnan(value) else repr(value))
        assert row["significant"] == str(entry.significant)


def test_json_holds_everything(comparison, tmp_path):
    write_tables(tmp_path, comparison)
    found = json.loads((tmp_path / "comparison.json").read_text(), parse_constant=pytest.fail)
    assert found["entries"][1]["p_corrected"] == 0.004
    assert found["entries"][1]["std"] is None
    assert found["methods"][0]["cost"]["seconds"] is None
    assert found["methods"][1]["name"] == "50% & $x$"
    assert found["images"] == {"test": 100, "hard_er": 50}
    assert found["procedure"] == comparison.procedure


def test_latex_rows(comparison):
    lines = latex_table(comparison).splitlines()
    assert r"Metric & Split & plain\_1 & 50\% \& \$x\$ \\" in lines
    assert r"Accuracy (\%) $\uparrow$ & test & 81.2 $\pm$ 1.0 & \textbf{85.2}$^{*}$ \\" in lines
    assert r" & hard\_er & 50.0 $\pm$ 2.0 & 50.0 \\" in lines  # alike as shown: neither is the best
    assert (
        r"Overlap of true and most confused class $\downarrow$ & test & 0.250 $\pm$ 0.100 & \textbf{0.125} \\" in lines
    )
    assert r"My own\#metric & test & -- & 2.000 \\" in lines
    assert r"\multicolumn{4}{l}{\emph{best epoch}} \\" in lines


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(comparison, tmp_path):
    write_tables(tmp_path, comparison)
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{comparison.tex}\end{document}"
    (tmp_path / "page.tex").write_text(page)
    call = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(call, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "page.pdf").stat().st_size > 1000
