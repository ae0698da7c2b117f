from pathlib import Path
from types import SimpleNamespace

import pytest

from looksharp import cli
from looksharp.curing import retraining
from looksharp.curing.plan import CURE
from looksharp.curing.settings import CureSettings
from looksharp.curing.verdict import Verdict


@pytest.fixture
def called(monkeypatch):
    """What the command asks for; its verdict can be set."""
    calls = SimpleNamespace(verdict=Verdict("cured", "Cured: it is."), found=[])

    def cure_run(settings):
        calls.found.append(settings)
        return SimpleNamespace(verdict=calls.verdict, report=Path("out") / "report.html")

    monkeypatch.setattr(retraining, "cure_run", cure_run)
    return calls


def test_every_flag_arrives(called, capsys):
    flags = (
        "--marks boxes.json --out out --data images --root root --marked 0.25 --marked_classes a,b --mark_boxes "
        "--guidance energy:2 --marked_per_batch 3 --warmup 9 --epochs 4 --fine_tune "
        "--compare class_balanced,energy+contrast --budget 0,8,16 --seeds 2 --device cpu"
    )
    assert cli.main(["cure", "run", *flags.split()]) == 0
    (found,) = called.found
    assert found == CureSettings(
        run=Path("run"),
        marks="boxes.json",
        out=Path("out"),
        data="images",
        root=Path("root"),
        marked=0.25,
        marked_classes=["a", "b"],
        mark_boxes=True,
        guidance="energy:2",
        marked_per_batch=3,
        warmup=9,
        epochs=4,
        fine_tune=True,
        compare=("class_balanced", "energy+contrast"),
        budget=(0, 8, 16),
        seeds=2,
        device="cpu",
    )
    assert found.compare == ("class_balanced", "energy+contrast")
    said = capsys.readouterr()
    assert said.out == f"Cured: it is.\nOpen {Path('out') / 'report.html'} in a browser.\n"
    assert said.err == ""


def test_defaults(called):
    assert cli.main(["cure", "run", "--marks", "data"]) == 0
    (found,) = called.found
    assert (found.run, found.marks, found.out) == (Path("run"), "data", None)
    assert (found.data, found.root, found.marked, found.marked_classes, found.mark_boxes) == (None,) * 4 + (False,)
    assert (found.guidance, found.marked_per_batch, found.warmup) == (CURE.guidance, None, 0)
    assert (found.epochs, found.fine_tune, found.compare, found.budget) == (None, None, (), ())
    assert (found.seeds, found.device) == (3, "auto")


def test_a_moved_map_is_warned_of(called, capsys):
    called.verdict = Verdict("not", "Not cured: it is not.", "test", "A moved map is no proof.")
    assert cli.main(["cure", "run", "--marks", "data"]) == 0
    said = capsys.readouterr()
    assert said.err == "looksharp: warning: A moved map is no proof.\n"
    assert said.out.startswith("Not cured: it is not.\n")


def test_errors_are_one_line(called, capsys):
    assert cli.main(["cure", "run"]) == 2
    assert "required: --marks; see looksharp cure --help" in capsys.readouterr().err
    assert cli.main(["cure", "run", "--marks", "data", "--budget", "0,few"]) == 2
    assert capsys.readouterr().err == ("looksharp: error: budget must be a list, each a whole number; got 'few'\n")
    assert called.found == []


def test_an_interrupted_cure_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(retraining, "cure_run", interrupted)
    assert cli.main(["cure", "run", "--marks", "data"]) == 130
    assert capsys.readouterr().err == "looksharp: interrupted; the same command goes on where it stopped\n"
