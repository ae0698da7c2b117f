from dataclasses import replace

import pytest
import torch

from looksharp.data.build import DataConfig, build_data
from looksharp.experiments.record import read_record
from looksharp.experiments.study import conduct
from looksharp.experiments.table import Table
from looksharp.experiments.trial import Trial, plan, run_folder, train_trial
from looksharp.training import load_run
from looksharp.training.module import NonFiniteLossError, Training
from looksharp.training.settings import OptimizationConfig, RunConfig, TrainingConfig

BASE = RunConfig(
    data=DataConfig("digits", settings={"train": 32, "val": 8, "test": 16}),
    training=TrainingConfig(epochs=1, batch_size=16, device="cpu", workers=0),
)
VARIANTS = {"plain": BASE, "steep": replace(BASE, optimization=OptimizationConfig(lr=0.2))}


@pytest.fixture(scope="module")
def data():
    return build_data(BASE.data, 0)


def study(out, data, variants=VARIANTS, seeds=(0, 1), said=None, asked=None, **options):
    """The table of a small experiment whose measure is the sum of a run's weights."""

    def measure(trial, run, data):
        if asked is not None:
            asked.append((trial.variant, trial.seed))
        with torch.no_grad():
            weights = float(sum(p.detach().double().sum() for p in run.model.parameters()))
        return {"weights": weights, "undefined": float("nan")}

    report = None if said is None else lambda trial, kept: said.append((trial.variant, trial.seed, kept))
    trials = plan(variants, seeds, out)
    return Table(tuple(conduct(trials, lambda trial: data, measure, report=report, progress=False, **options)))


def test_every_variant_is_trained_with_every_seed_and_kept(tmp_path, data):
    said, asked = [], []
    table = study(tmp_path, data, said=said, asked=asked)
    both = [(v, s) for v in VARIANTS for s in (0, 1)]
    assert [(r.variant, r.seed) for r in table.records] == asked == both
    assert said == [(v, s, False) for v, s in both]
    assert table.measures == ["weights"]  # what is undefined is left out
    run = load_run(tmp_path / "steep" / "seed-1", device="cpu")
    assert (run.config.optimization.lr, run.config.training.seed) == (0.2, 1)
    expected = sum(float(p.detach().double().sum()) for p in run.model.parameters())
    record = table.records[-1]
    assert record.values["weights"] == pytest.approx(expected)
    assert (record.images, record.epochs, record.data) == (32, 1, data.name)
    assert record.settings == run.config.flat()
    assert record.commit
    assert "CPU" in record.hardware or "thread" in record.hardware
    again = study(tmp_path, data, variants=dict(reversed(VARIANTS.items())), seeds=(1,), said=said, asked=asked)
    assert again.records == (table.records[3], table.records[1])
    assert len(asked) == 4
    assert said[4:] == [("steep", 1, True), ("plain", 1, True)]


def test_a_folder_of_other_settings_is_refused_before_anything_is_trained(tmp_path, data, monkeypatch):
    study(tmp_path, data, seeds=(0,))
    moved = {"plain": replace(BASE, training=replace(BASE.training, workers=1))}
    assert study(tmp_path, data, moved, (0,)).variants == ["plain"]  # another machine's
    other = {"new": BASE, "plain": replace(BASE, optimization=OptimizationConfig(lr=0.3))}
    monkeypatch.setattr(Training, "training_step", lambda *_: pytest.fail("trained"))
    message = r"plain.seed-0 holds a run of other settings \(lr 0.1, now 0.3\); choose another --out, or remove it$"
    with pytest.raises(ValueError, match=message):
        study(tmp_path, data, other, (0,))
    (tmp_path / "plain" / "seed-0" / "measured.json").unlink()  # then the run folder's own settings tell
    with pytest.raises(ValueError, match=message):
        study(tmp_path, data, other, (0,))


def test_an_interrupted_study_goes_on(tmp_path, data, monkeypatch):
    with monkeypatch.context() as patched:
        step = Training.training_step

        def stopped(module, batch, batch_idx):
            if module.hparams_lr == 0.2:
                raise KeyboardInterrupt
            return step(module, batch, batch_idx)

        patched.setattr(
            Training,
            "hparams_lr",
            property(lambda m: m.trainer.optimizers[0].param_groups[0]["initial_lr"]),
            raising=False,
        )
        patched.setattr(Training, "training_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path, data, seeds=(0,))
    asked = []
    table = study(tmp_path, data, seeds=(0,), asked=asked)
    assert asked == [("steep", 0)]
    assert table.variants == ["plain", "steep"]


def test_a_training_that_diverges_is_recorded_and_not_tried_again(tmp_path, data):
    asked = []
    wild = {"plain": BASE, "wild": replace(BASE, optimization=OptimizationConfig(lr=1e30))}
    with pytest.raises(NonFiniteLossError, match="the loss is nan at epoch 0"):
        study(tmp_path / "strict", data, wild, (0,))
    table = study(tmp_path, data, wild, (0,), asked=asked, record_diverged=True)
    assert asked == [("plain", 0)]
    assert (table.diverged("plain"), table.diverged("wild")) == (0, 1)
    assert "the loss is nan at epoch 0" in read_record(tmp_path / "wild" / "seed-0").diverged
    assert study(tmp_path, data, wild, (0,), asked=asked).records == table.records
    assert "1 of 1 diverged" in table.markdown()


def test_a_finished_run_is_read_and_not_trained_again(tmp_path, data, monkeypatch):
    trial = Trial("plain", BASE, run_folder(tmp_path, "agreement:0.3+../x"))
    assert trial.folder == tmp_path / "agreement-0.3+..-x"
    first = train_trial(trial, data, progress=False)
    monkeypatch.setattr(Training, "training_step", lambda *_: pytest.fail("trained"))
    again = train_trial(trial, data, progress=False)
    for name, value in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value)
