import csv
from pathlib import Path

import pytest

from looksharp.cli.flags import call
from looksharp.cli.parser import build_parser
from looksharp.curing.settings import CureSettings
from looksharp.studio.cure_jobs import CureChoice, planned, progress_of
from looksharp.studio.estimates import epoch_seconds, estimated
from looksharp.studio.jobs import Job
from looksharp.studio.methods import METHODS, advised
from looksharp.studio.settings import StudioSettings
from looksharp.studio.ticked import Ticked, groups_file, read_ticked, write_ticked
from looksharp.studio.training_charts import state_of, training_charts


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run" / "studio" / "suspects").mkdir(parents=True)
    (tmp_path / "run" / "studio" / "marks.json").write_text("marks")
    (tmp_path / "run" / "studio" / "suspects" / "groups.json").write_text("groups")
    (tmp_path / "job").mkdir()
    return tmp_path / "run" / "studio"


def _settings(arguments):
    parser, _ = build_parser(arguments)
    found = parser.parse_args(arguments)
    del found.command
    return call(CureSettings, found)


@pytest.mark.parametrize("method", METHODS)
def test_a_choice_is_a_command_line_that_cure_takes(method, folder, tmp_path):
    settings = StudioSettings(run=folder.parent, data="digits", root=tmp_path / "images", device="cpu")
    choice = CureChoice(method, 7, True, Ticked((1, 4), (2,)))
    arguments = planned(choice, settings, folder)(tmp_path / "job")
    found = _settings(arguments)
    assert (found.run, found.out, found.epochs) == (folder.parent, tmp_path / "job" / "out", 7)
    assert (found.data, found.root, found.device, found.compare) == ("digits", tmp_path / "images", "cpu", ("labels",))
    reads = METHODS[method].reads
    assert (found.marks is not None, found.cues is not None) == ("marks" in reads, "ticks" in reads)
    if "marks" in reads:
        assert Path(found.marks).parent == tmp_path / "job"
        assert Path(found.marks).read_text() == "marks"
    if "ticks" in reads:
        assert found.cues.read_text() == "groups"
        assert [str(found.shortcut), str(found.object)] == ["1,4", "2"]
    assert found.propagate == {"propagated": True, "ticks": None, "both": None}.get(method, False)


def test_what_is_marked_later_does_not_change_a_job(folder, tmp_path):
    arguments = planned(CureChoice("marks", 3), StudioSettings(run=folder.parent), folder)(tmp_path / "job")
    (folder / "marks.json").write_text("more")
    assert (tmp_path / "job" / "marks.json").read_text() == "marks"
    assert "--data" not in arguments
    assert "--compare" not in arguments


def test_what_is_not_there_is_named(folder, tmp_path):
    (folder / "marks.json").unlink()
    with pytest.raises(ValueError, match=r"there is no .*marks\.json: mark some images first"):
        planned(CureChoice("marks", 3), StudioSettings(run=folder.parent), folder)(tmp_path / "job")
    with pytest.raises(ValueError, match=r"there is no .*groups\.json: find groups"):
        planned(CureChoice("ticks", 3), StudioSettings(run=folder.parent, cues=tmp_path), folder)(tmp_path / "job")
    with pytest.raises(ValueError, match="method must be one of marks"):
        CureChoice("magic", 3)
    with pytest.raises(ValueError, match="epochs must be 1 to 100,000; got 0"):
        CureChoice("marks", 0)


def test_the_advice_can_be_taken():
    for marked in (0, 1, 2, 19, 20, 500):
        for ticked in (0, 3):
            name = advised(marked, ticked)
            needs = METHODS[name].reads if name else set()
            assert marked >= 2 or "marks" not in needs
            assert ticked or "ticks" not in needs
            assert name or (marked < 2 and not ticked)


def test_an_estimate_grows_with_what_there_is_to_do():
    history, images = [{"seconds": 9.0}, {"seconds": 3.0}, {"seconds": 4.0}], {"train": 900, "val": 300, "test": 500}
    epoch = epoch_seconds(history)
    known = estimated(epoch, images, 10, 1.5)
    assert known == pytest.approx(20 + 10 * 1.5 * 4 + 4 / 1000 * 500 / 3 * 16, abs=1)
    assert estimated(epoch, images, 20, 1.5) - known == pytest.approx(60)
    assert estimated(epoch, images, 10, 1.5, 2) - known == pytest.approx(60)
    assert estimated(epoch, images, 10, 1.5, before=80) - known == pytest.approx(80)
    assert epoch_seconds([]) is None


def test_ticks_are_written_and_read(tmp_path):
    assert read_ticked(tmp_path) == Ticked()
    write_ticked(tmp_path, {5, 2}, [9])
    assert read_ticked(tmp_path) == Ticked((2, 5), (9,))
    assert len(read_ticked(tmp_path)) == 3
    for text in ("{", '{"shortcut": ["a"]}', '{"object": [-1]}'):
        (tmp_path / "ticks.json").write_text(text)
        with pytest.raises(ValueError, match=r"ticks\.json"):
            read_ticked(tmp_path)
    assert groups_file(tmp_path) == tmp_path / "suspects" / "groups.json"
    assert groups_file(tmp_path, Path("found")) == Path("found/groups.json")
    assert groups_file(tmp_path, Path("found/groups.json")) == Path("found/groups.json")


def _training(job, name, epochs, losses):
    folder = job / "out" / "runs" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"epochs: {epochs}\n")
    if losses:
        with (folder / "metrics.csv").open("w") as file:
            rows = csv.writer(file)
            rows.writerow(["epoch", "seconds", "train_loss", "val_loss", "val_top1"])
            rows.writerows([epoch, 30.0, loss, loss + 0.5, 0.25] for epoch, loss in enumerate(losses))


def test_progress_and_curves_of_the_trainings(tmp_path):
    _training(tmp_path, "labels", 4, [])
    _training(tmp_path, "cure", 4, [2.0, 1.5])
    (tmp_path / "out" / "runs" / "torn").mkdir()
    (tmp_path / "out" / "runs" / "torn" / "config.yaml").write_text("[")
    found = progress_of(tmp_path)
    assert [(each.name, len(each.history), each.epochs) for each in found] == [("cure", 2, 4), ("labels", 0, 4)]
    job = Job(1, tmp_path, "a", (), "running", 5.0)
    assert state_of(job, found) == "Runs: about 60 seconds of training are left, and then it is measured."
    assert state_of(job, found[1:]) == "Runs: the first epoch is under way."
    both = Job(1, tmp_path, "a", ("cure", "run", "--compare", "labels"), "running", 5.0)  # one of two has begun
    assert state_of(both, found[:1]) == "Runs: about 3 minutes of training are left, and then it is measured."
    assert state_of(job, []) == "Runs: the images and the network are being read and measured."
    loss, score = training_charts(found)
    assert loss.alt == "Loss over epochs: training 1.500 after epoch 2; validation 2.000 after epoch 2"
    assert score.alt == "Validation over epochs: validation 25.0% after epoch 2"
    assert b"<svg" in loss.on_light
    assert training_charts([]) == []


def test_how_a_job_ended_is_said(tmp_path):
    (tmp_path / "log").write_text("reading\nlooksharp: error: a cure needs at least 2 marked training images\n\n")
    assert state_of(Job(1, tmp_path, "a", (), "failed"), []) == "Failed: a cure needs at least 2 marked training images"
    assert state_of(Job(1, tmp_path, "a", (), "finished", 5.0, 80.0), []) == "Finished in 1 min 15 s."
    assert state_of(Job(1, tmp_path, "a", (), "interrupted"), []) == "Interrupted: its process was killed."
