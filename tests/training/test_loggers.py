"""Runs that are followed in loggers: every one of the registry."""

import csv
import itertools
import json

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import Logger
from PIL import Image

from looksharp import cli
from looksharp.networks import AttendAndRectify, AttentionBranchNetwork, SmallNet
from looksharp.training import load_run, train
from looksharp.training.following import MapPictures
from looksharp.training.history import read_history
from looksharp.training.loggers import LOGGERS, RunLogger, base
from looksharp.training.module import Training
from looksharp.training.settings import RunConfig

STEPS = 4
LOGGED = ("train_loss", "train_classification", "val_top1", "val_loss")


def installed(name):
    if LOGGERS[name].package:
        pytest.importorskip(LOGGERS[name].package)
    return name


def weights(run):
    return run.model.state_dict()


def interrupted(monkeypatch, step, *arguments, **options):
    """Train until a step, counted from 1."""
    steps, whole = itertools.count(1), Training.training_step

    def training_step(self, batch, batch_idx):
        if next(steps) == step:
            raise KeyboardInterrupt
        return whole(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "training_step", training_step)
        with pytest.raises(KeyboardInterrupt):
            train(*arguments, **options)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, few_settings, few_digits):
    """A run that nobody follows."""
    return train(few_settings(epochs=2), tmp_path_factory.mktemp("plain") / "run", data=few_digits, progress=False)


@pytest.fixture(scope="module", params=sorted(LOGGERS))
def name(request):
    return installed(request.param)


@pytest.fixture(scope="module")
def run(name, tmp_path_factory, few_settings, few_digits):
    """A run that was interrupted in its second epoch and resumed, followed in one logger all the time."""
    out = tmp_path_factory.mktemp("followed") / "run"
    config = few_settings(epochs=2, logger=[name])
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupted(monkeypatch, STEPS + 3, config, out, data=few_digits, progress=False)
    return train(config, out, data=few_digits, resume=True, progress=False)


def test_a_run_is_the_same_whether_it_is_followed_or_not(run, plain):
    assert all(torch.equal(value, weights(plain)[key]) for key, value in weights(run).items())
    kept = [[{k: v for k, v in row.items() if k != "seconds"} for row in each.history] for each in (run, plain)]
    assert kept[0] == kept[1]


def test_a_logger_holds_one_of_lightnings(name, tmp_path):
    made = LOGGERS[name](tmp_path, 0)
    try:
        assert isinstance(made, RunLogger)
        assert isinstance(made.logger, Logger)
    finally:
        made.close()


def csv_values(path):
    rows = list(csv.DictReader((path / "logs/csv/metrics.csv").read_text().splitlines()))
    return {key: [(int(row["step"]), float(row[key])) for row in rows if row[key]] for key in LOGGED}


def tensorboard_values(path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(path / "logs/tensorboard")).Reload()
    assert len(events.Images("maps")) == 2
    return {key: [(each.step, each.value) for each in events.Scalars(key)] for key in LOGGED}


def mlflow_values(path):
    from mlflow.tracking import MlflowClient

    client = MlflowClient((path / "logs/mlflow").absolute().as_uri())
    run_id = (path / "logs/mlflow.id").read_text().strip()
    assert [each.path for each in client.list_artifacts(run_id, "maps")] == [
        "maps/epoch-0000.png",
        "maps/epoch-0001.png",
    ]
    return {key: [(e.step, e.value) for e in client.get_metric_history(run_id, key)] for key in LOGGED}


def wandb_records(file):
    """Read a .wandb file, a log in the form of LevelDB's: blocks of 32 KiB, of pieces with a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, data = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:  # the rest of a block holds no header
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or its last piece
            record = Record()
            record.ParseFromString(data)
            yield record
            data = b""


def wandb_values(path):
    found, runs = {key: [] for key in LOGGED}, set()
    for file in sorted((path / "logs/wandb").glob("offline-run-*/*.wandb")):
        for record in wandb_records(file):
            runs |= {record.run.run_id} if record.HasField("run") else set()
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for key in LOGGED:
                if key in items:
                    found[key].append((items["trainer/global_step"], items[key]))
    assert runs == {(path / "logs/wandb.id").read_text().strip()}
    return found


READ = {"csv": csv_values, "tensorboard": tensorboard_values, "wandb": wandb_values, "mlflow": mlflow_values}


@pytest.mark.parametrize("name", READ, indirect=True)
def test_each_epoch_is_logged_once_even_if_the_run_was_interrupted(name, run):
    history = read_history(run.path / "metrics.csv")
    for key, values in READ[name](run.path).items():
        assert [step for step, _ in values] == [STEPS - 1, 2 * STEPS - 1]
        np.testing.assert_allclose([value for _, value in values], [row[key] for row in history], rtol=1e-6)


def test_pictures_beside_the_table(tmp_path, few_settings, few_digits):
    done = train(few_settings(logger=["csv"], logged_maps=2), tmp_path / "run", data=few_digits, progress=False)
    (path,) = (done.path / "logs/csv/maps").iterdir()
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(float)
    assert path.name == "epoch-0000.png"
    assert (np.ptp(pixels, axis=2) > 60).mean() > 0.02  # coloured by maps
    assert "logged_maps: 2" in (done.path / "logs/csv/hparams.yaml").read_text()
    assert load_run(done.path).config.training.logger == ["csv"]


@pytest.mark.parametrize("architecture", [AttentionBranchNetwork, AttendAndRectify])
def test_networks_with_attention_show_their_own(few_digits, architecture):
    network = architecture(SmallNet(10, width=4), image_size=few_digits.pixels.size).eval()
    assert MapPictures(few_digits, 3).drawn(network)[1:4] == b"PNG"


def test_pictures_leave_the_network_and_random_numbers_alone(few_digits):
    network = SmallNet(10, width=4).eval()
    before, state = torch.random.get_rng_state(), {k: v.clone() for k, v in network.state_dict().items()}
    MapPictures(few_digits, 3).drawn(network)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_a_network_without_maps_is_trained_without_pictures(tmp_path, few_settings, few_digits, capfd, monkeypatch):
    def refuse(*_):
        raise ValueError("layers of one position")

    monkeypatch.setattr(MapPictures, "drawn", refuse)
    train(few_settings(epochs=2, logger=["csv"]), tmp_path / "run", data=few_digits, progress=False)
    assert capfd.readouterr().err == "note: no maps are drawn: layers of one position\n"


def test_a_run_that_begins_anew_keeps_nothing_of_one_that_failed(tmp_path, few_settings, few_digits, monkeypatch):
    config, out = few_settings(logger=["csv"]), tmp_path / "run"
    (out / "logs" / "csv").mkdir(parents=True)
    (out / "logs" / "csv" / "metrics.csv").write_text("step,val_top1\n3,0.5\n")
    train(config, out, data=few_digits, progress=False)
    assert [step for step, _ in csv_values(out)["val_top1"]] == [STEPS - 1]


def test_loggers_may_change_when_a_run_goes_on(tmp_path, few_settings, few_digits):
    out = tmp_path / "run"
    train(few_settings(), out, data=few_digits, progress=False)
    config = few_settings(epochs=2, logger=["csv"])
    train(config, out, data=few_digits, resume=True, progress=False)
    assert [step for step, _ in csv_values(out)["val_top1"]] == [2 * STEPS - 1]
    assert "epochs: 2" in (out / "logs/csv/hparams.yaml").read_text()


def test_a_missing_package_is_named_before_anything_is_read(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    assert cli.main(["train", "--logger", "csv,wandb", "--out", str(tmp_path / "run")]) == 2
    assert capfd.readouterr().err == "looksharp: error: logger wandb needs the package wandb: pip install wandb\n"
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_is_named():
    with pytest.raises(ValueError, match="logger 'tensorbord' is not known; did you mean 'tensorboard'"):
        RunConfig.from_flat({"logger": ["csv", "tensorbord"]})


def test_the_name_that_a_service_gave_a_run_is_kept_for_when_it_goes_on(tmp_path):
    out = tmp_path / "run"
    assert base.kept_name(out, "service") is None
    assert not out.exists()
    assert base.kept_name(out, "service", "a1b2") == "a1b2"
    assert base.kept_name(out, "service") == "a1b2"
    assert base.kept_name(out, "other") is None
    assert [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()] == ["logs/service.id"]
