from pathlib import Path
from types import SimpleNamespace

import pytest

from looksharp import cli
from looksharp.curing import retraining
from looksharp.curing.plan import CURE
from looksharp.curing.verdict import Verdict


@pytest.fixture
def called(monkeypatch):
    """What the command asks for; its verdict can be set."""
    calls = SimpleNamespace(verdict=Verdict("cured", "Cured: it is."), found=[])

    def cure(*args, **options):
        calls.found.append((args, options))
        return SimpleNamespace(verdict=calls.verdict, report=Path("out") / "report.html")

    monkeypatch.setattr(retraining, "cure", cure)
    return calls


def test_every_flag_arrives(called, capsys):
    flags = (
        "--guidance boxes.json --out out --data images --root root --guided 0.25 --guidance_boxes "
        "--guidance_loss energy:2 --guided_per_batch 3 --guidance_warmup 9 --epochs 4 --fine_tune "
        "--compare class_balanced,energy+contrast --budget 0,8,16 --seeds 2 --device cpu"
    )
    assert cli.main(["cure", "run", *flags.split()]) == 0
    assert called.found == [
        (
            (Path("run"), "boxes.json", Path("out")),
            {
                "data": "images",
                "root": Path("root"),
                "guided": 0.25,
                "guidance_boxes": True,
                "guidance_loss": "energy:2",
                "guided_per_batch": 3,
                "guidance_warmup": 9,
                "epochs": 4,
                "fine_tune": True,
                "compare": ["class_balanced", "energy+contrast"],
                "budget": [0, 8, 16],
                "seeds": 2,
                "device": "cpu",
            },
        )
    ]
    said = capsys.readouterr()
    assert said.out == f"Cured: it is.\nOpen {Path('out') / 'report.html'} in a browser.\n"
    assert said.err == ""


def test_defaults(called):
    assert cli.main(["cure", "run", "--guidance", "data"]) == 0
    ((args, options),) = called.found
    assert args == (Path("run"), "data", None)
    assert options == {
        "data": None,
        "root": None,
        "guided": None,
        "guidance_boxes": False,
        "guidance_loss": CURE.guidance_loss,
        "guided_per_batch": None,
        "guidance_warmup": 0,
        "epochs": None,
        "fine_tune": False,
        "compare": [],
        "budget": [],
        "seeds": 3,
        "device": "auto",
    }


def test_a_moved_map_is_warned_of(called, capsys):
    called.verdict = Verdict("not", "Not cured: it is not.", "test", "A moved map is no proof.")
    assert cli.main(["cure", "run", "--guidance", "data"]) == 0
    said = capsys.readouterr()
    assert said.err == "looksharp: warning: A moved map is no proof.\n"
    assert said.out.startswith("Not cured: it is not.\n")


def test_errors_are_one_line(called, capsys):
    assert cli.main(["cure", "run"]) == 2
    assert "required: cure.guidance" in capsys.readouterr().err
    assert cli.main(["cure", "run", "--guidance", "data", "--budget", "0,few"]) == 2
    assert capsys.readouterr().err == (
        "looksharp: error: budget must be whole numbers separated by commas, such as 0,8,16; got '0,few'\n"
    )
    assert called.found == []


def test_an_interrupted_cure_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(retraining, "cure", interrupted)
    assert cli.main(["cure", "run", "--guidance", "data"]) == 130
    assert capsys.readouterr().err == "looksharp: interrupted; the same command goes on where it stopped\n"
