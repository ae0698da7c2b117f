import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import looksharp
from looksharp.curing import page as page_module
from looksharp.curing.footing import footing
from looksharp.curing.marks import HELD_OUT
from looksharp.curing.plan import CURE, guidance_of
from looksharp.curing.retraining import cure
from looksharp.curing.verdict import judge
from looksharp.data.build import DataConfig
from looksharp.data.sets import synthetic
from looksharp.evaluation import evaluate
from looksharp.experiments import trial
from looksharp.interventions.intervene import intervene
from looksharp.objectives.base import PARTS
from looksharp.propagation import keeping
from looksharp.propagation.propagate import propagate
from looksharp.training import load_run, train
from looksharp.training.settings import NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

SPLITS = ("biased", "unbiased", "conflicting")
OPTIONS = {"device": "cpu", "progress": False}
SETTINGS = {
    "marked": 20,
    "mark_boxes": True,
    "marked_per_batch": 8,
    "warmup": 3,
    "epochs": 1,
    "compare": ["labels", "dfr"],
    "budget": [0, 4, 20],
    "seeds": 1,
    **OPTIONS,
}


DIGITS = {"rho": 1.0, "train": 120, "val": 60, "test": 24}


@pytest.fixture
def _no_figures(monkeypatch):
    """Leave out what takes longest, where another test has seen it."""
    monkeypatch.setattr(page_module, "draw_examples", lambda folder, examples: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A classifier trained on a patch that gives every class away."""
    config = RunConfig(
        data=DataConfig("biased_digits", settings=DIGITS),
        optimization=OptimizationConfig(lr=0.1),
        training=TrainingConfig(epochs=2, batch_size=16, device="cpu"),
    )
    return train(config, tmp_path_factory.mktemp("runs") / "digits", progress=False).path


@pytest.fixture(scope="module")
def found(run):
    return looksharp.cure(run, **SETTINGS)


@pytest.fixture(scope="module")
def out(found):
    return found.report.parent


@pytest.fixture(scope="module")
def results(out):
    return json.loads((out / "results.json").read_text())


def test_the_runs_own_settings_with_guidance(found, run, out):
    assert out == run.with_name("digits-cured")
    before, config = load_run(run, device="cpu").config, found.after.run.config
    assert [part.name for part in config.objective[1:]] == [part.name for part in guidance_of(CURE.guidance)]
    assert (config.marks.marks, config.marks.marked, config.marks.marked_per_batch) == ("data", 20, 8)
    (guidance,) = guidance_of(CURE.guidance)
    assert config.objective[1].settings["weight"] == PARTS[guidance.name](**guidance.settings).weight
    assert config.objective[1].settings["warmup"] == 3
    assert config.marks.mark_boxes
    assert replace(config, objective=before.objective, marks=before.marks, training=before.training) == before
    assert config.training == replace(before.training, epochs=1)
    labels = found.others[0].run.config
    assert labels == replace(config, objective=before.objective)
    assert json.loads((out / "runs" / "cure" / "run.json").read_text())["marked"] == 20
    assert {path.name for path in (out / "runs").iterdir()} == {"cure", "labels"}
    assert {path.name for path in out.iterdir()} == {
        "budget", "budget.csv", "figures", "report.html", "results.json", "runs"
    }  # fmt: skip


def test_before_and_after_are_measured(found, run, out, results):
    data = synthetic.biased_digits(**DIGITS)
    for measured, path in ((found.before, run), (found.after, out / "runs" / "cure")):
        model = load_run(path, device="cpu").model
        assert measured.splits.keys() == {*SPLITS, "val"}
        assert measured.interventions.keys() == {*SPLITS, "val"}
        expected = evaluate(model, data.splits["conflicting"], data.pixels).values
        assert measured.splits["conflicting"] == pytest.approx(expected)
        proof = intervene(model, data.splits["val"], data.pixels)
        assert measured.interventions["val"].values == pytest.approx(proof.values)
        written = results["classifiers"][measured.name]
        assert written["splits"]["conflicting"] == pytest.approx(expected)
        assert written["interventions"]["val"]["values"] == pytest.approx(proof.values)
    inside = tuple({s: v["attention_inside"] for s, v in m.splits.items()} for m in (found.before, found.after))
    assert found.verdict == judge(found.before.interventions, found.after.interventions, inside)
    assert results["verdicts"]["cure"]["sentence"] == found.verdict.sentence
    assert list(results["classifiers"]) == ["before", "cure", "labels", "dfr"]
    assert [column["marked"] for column in results["classifiers"].values()] == [0, 20, 0, 0]


def test_dfr_is_the_run_with_another_last_layer(found):
    before, dfr = found.before.run, found.others[1].run
    changed = {
        name
        for name, value in dfr.model.state_dict().items()
        if not torch.equal(value, before.model.state_dict()[name])
    }
    assert changed == {"fc.weight", "fc.bias"}
    assert (dfr.path, dfr.config) == (before.path, before.config)
    assert dfr.seconds > before.seconds


def test_the_curve(found, out, results):
    rows = {row["marked"]: row for row in results["budget"]}
    assert list(rows) == [0, 4, 20]
    decides = found.verdict.split
    for marked, measured in {0: found.before, 20: found.after}.items():  # what is there is not trained again
        assert not (out / "budget" / str(marked) / "seed-0" / "config.yaml").exists()
        assert [rows[marked][split] for split in SPLITS] == [measured.splits[split]["top1"] for split in SPLITS]
        assert rows[marked]["exchanged"] == measured.interventions[decides].values["exchanged_across"]
    few = load_run(out / "budget" / "4" / "seed-0", device="cpu")
    assert few.config.marks == replace(found.after.run.config.marks, marked=4)
    data = synthetic.biased_digits(**DIGITS)
    top1 = evaluate(few.model, data.splits["unbiased"], data.pixels).values["top1"]
    assert rows[4]["unbiased"] == pytest.approx(top1)
    assert (out / "budget.csv").read_text().splitlines()[0] == "marked,seed,biased,unbiased,conflicting,exchanged"


def test_the_page_says_it(found, out):
    page = found.report.read_text()
    assert str(found.verdict).replace("'", "&#39;") in page
    for word in ("before", "cure", "labels", *SPLITS, "How many marked images it takes", "20 marked images"):
        assert word in page
    figures = {path.name for path in (out / "figures").iterdir()}
    assert {"interventions.svg", "accuracy.svg", "budget.svg", "example-1.png", "evidence-4.png"} <= figures


@pytest.mark.usefixtures("_no_figures")
def test_the_same_call_goes_on_where_it_stopped(found, run, out, results, monkeypatch):
    whole, trained = trial.train, []

    def counted(config, path, **options):
        trained.append(path.name)
        return whole(config, path, **options)

    monkeypatch.setattr(trial, "train", counted)
    (out / "report.html").unlink()
    (out / "budget" / "4" / "seed-0" / "measured.json").unlink()
    facts = out / "runs" / "labels" / "run.json"
    content = json.loads(facts.read_text())
    del content["seconds"]  # as of a run that has not ended
    facts.write_text(json.dumps(content))
    again = cure(run, **SETTINGS)
    assert trained == ["labels"]
    assert again.report.is_file()
    now = json.loads((out / "results.json").read_text())
    assert now["budget"] == results["budget"]
    assert now["verdicts"] == results["verdicts"]


def test_other_settings_do_not_overwrite(found, run, out):
    before = found.report.read_bytes()
    with pytest.raises(
        ValueError, match=r"cure holds a run of other settings \(epochs 1, now 2\); choose another --out"
    ):
        cure(run, **(SETTINGS | {"epochs": 2}))
    assert found.report.read_bytes() == before


def test_what_cannot_be_done(run, tmp_path, monkeypatch):
    def fails(message, path=run, **options):
        with pytest.raises(ValueError, match=message):
            cure(path, out=tmp_path / "out", **OPTIONS, **options)

    fails(
        "^compare must be of labels, .*, or guidance: objective part 'guess' is not known; there are .*$",
        compare=["guess"],
    )
    fails("^compare names labels twice$", compare=["labels", "labels"])
    fails("^objective part 'guess' is not known; there are .*$", guidance="guess")
    fails("^budget must be 0, or 2 to the 9 marked images of the training; got 10$", marked=9, budget=[0, 10])
    fails("^epochs must be at least 1; got 0$", epochs=0)
    fails("^marked_per_batch must be 0 to 15, below the run's batch_size; got 16$", marked_per_batch=16)
    fails("is not a run folder: it has no config.yaml$", path=tmp_path / "nothing")
    assert not (tmp_path / "out" / "report.html").exists()


# A folder of images, of which training images alone are marked --------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bright shapes (a column or a row) on grounds whose colour gives the class away; boxes as COCO."""
    root, rng = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    images, annotations = [], []
    for split, count in {"train": 16, "test": 4}.items():
        for label, name in enumerate(("column", "row")):
            (root / split / name).mkdir(parents=True)
            for n in range(count):
                pixels = np.zeros((24, 24, 3), np.uint8)
                pixels[..., label] = 120
                top, left = rng.integers(1, 12, 2)
                height, width = ((10, 4), (4, 10))[label]
                pixels[top : top + height, left : left + width] = 220
                path = f"{split}/{name}/{n:02d}.png"
                Image.fromarray(pixels).save(root / path)
                if split == "train":
                    box = [int(left), int(top), width, height]
                    annotations.append({"image_id": len(images), "category_id": label, "bbox": box})
                    images.append({"id": len(images), "file_name": path})
    categories = [{"id": 0, "name": "column"}, {"id": 1, "name": "row"}]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (root / "boxes.json").write_text(json.dumps(content))
    content["annotations"] = [annotations[0], annotations[-1]]
    (root / "two.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def shapes(folder, tmp_path_factory):
    config = RunConfig(
        data=DataConfig(str(folder), val_share=0.0),
        network=NetworkConfig("small"),
        optimization=OptimizationConfig(lr=0.05),
        training=TrainingConfig(epochs=2, batch_size=8, device="cpu", workers=0, augment="none"),
    )
    return train(config, tmp_path_factory.mktemp("runs") / "shapes", progress=False).path


@pytest.mark.usefixtures("_no_figures")
def test_marked_training_images_are_held_out_for_the_proof(shapes, folder, tmp_path):
    found = cure(shapes, folder / "boxes.json", tmp_path / "out", epochs=1, fine_tune=True, **OPTIONS)
    config = found.after.run.config
    assert config.network.weights == str(shapes / "model.safetensors")
    assert config.optimization.lr == pytest.approx(0.05 * CURE.fine_tune_lr)
    assert config.marks.marked_per_batch == 4
    assert (found.after.marked, len(found.after.interventions[HELD_OUT].images)) == (24, 8)
    assert found.after.splits.keys() == {"test", HELD_OUT}
    assert found.verdict.split == HELD_OUT
    page = found.report.read_text()
    assert "8 of the 32 marked training images were held out of training for the proof." in page
    guided = json.loads((tmp_path / "out" / "marks.json").read_text())
    assert len(guided["annotations"]) == 24
    warning = footing(found.before.proof)
    assert "it has nothing else to fall back on" in warning  # two epochs taught it nothing
    assert warning in page.replace("&#39;", "'")


@pytest.mark.usefixtures("_no_figures")
def test_without_marks_to_spare_there_is_no_proof(shapes, folder, tmp_path):
    found = cure(shapes, str(folder / "two.json"), tmp_path / "out", epochs=1, **OPTIONS)
    assert (found.verdict.kind, found.after.interventions, found.after.marked) == ("unproven", {}, 2)
    page = found.report.read_text()
    assert "There is no proof: all marked images are used in training." in page
    assert "Not proven" in page
    assert "Interventions to look at" not in page
    assert not math.isnan(found.after.splits["test"]["top1"])


def test_data_that_does_not_fit(shapes, folder, run, tmp_path):
    with pytest.raises(
        ValueError, match=r"^compare group_dro needs the group of every image, but groups are not known"
    ):
        cure(shapes, folder / "boxes.json", tmp_path / "out", compare=["group_dro"], **OPTIONS)
    with pytest.raises(
        ValueError, match=r"^data .* has other classes than the run: 2, first 'column', and not 10, fir"
    ):
        cure(run, "data", tmp_path / "out", data=str(folder), **OPTIONS)


@pytest.fixture
def told(monkeypatch):
    """Be as sure of every mask as told; returns the numbers of marked images that a segmenter learnt from."""
    asked = []

    def tell(sure):
        def found(split, pixels, **options):
            asked.append(len(split.marks.images))
            result = propagate(split, pixels, **options)
            return replace(result, sure=torch.full_like(result.sure, sure))

        monkeypatch.setattr(keeping, "propagate", found)
        return asked

    return tell


@pytest.mark.usefixtures("_no_figures")
def test_marks_are_propagated_once_for_all_trainings(run, tmp_path, told):
    asked = told(0.9)
    cure(run, out=tmp_path / "cured", marked=20, compare=["gain_ext", "labels"], epochs=1, **OPTIONS)
    config = load_run(tmp_path / "cured" / "runs" / "cure").config
    assert (config.marks.propagate, config.marks.marked_per_batch) == (True, 0)
    assert len(asked) == 1
    folders = [tmp_path / "cured" / "runs" / name / "propagated" for name in ("cure", "gain_ext", "labels")]
    assert [folder.exists() for folder in folders] == [True, True, False]  # labels alone read no marks
    assert f"A small segmenter learnt the {asked[0]} marks" in (tmp_path / "cured" / "report.html").read_text()


@pytest.mark.usefixtures("_no_figures")
def test_marks_of_files_are_propagated_once_too(shapes, folder, tmp_path, told):
    asked = told(0.9)
    found = cure(shapes, folder / "boxes.json", tmp_path / "cured", propagate=True, epochs=1, **OPTIONS)
    assert len(asked) == 1
    assert f"A small segmenter learnt the {asked[0]} marks" in found.report.read_text()
    assert found.after.run.config.marks.propagate_without is None


@pytest.mark.usefixtures("_no_figures")
def test_where_few_masks_are_sure_half_of_a_batch_is_drawn_from_them(run, tmp_path, told):
    told(0.1)
    cure(run, out=tmp_path / "cured", marked=20, epochs=1, **OPTIONS)
    config = load_run(tmp_path / "cured" / "runs" / "cure").config
    assert (config.marks.propagate, config.marks.marked_per_batch) == (True, 8)


@pytest.mark.parametrize("options", [{"propagate": False, "marked": 20}, {"marked": 3}, {"marked": 60}])
@pytest.mark.usefixtures("_no_figures")
def test_marks_are_not_propagated_where_that_is_not_worth_it(run, tmp_path, told, options):
    """Nobody asks for it, there are too few marks to learn from, or half of the images have one."""
    asked = told(0.9)
    found = cure(run, out=tmp_path / "cured", epochs=1, **options, **OPTIONS)
    assert not asked
    assert not found.after.run.config.marks.propagate


@pytest.mark.usefixtures("_no_figures")
def test_a_network_trained_without_the_cue_is_the_ceiling(run, out, tmp_path, monkeypatch):
    shutil.copytree(out / "runs" / "cure", tmp_path / "cured" / "runs" / "cure")
    settings = SETTINGS | {"compare": [], "budget": [], "out": tmp_path / "cured"}
    monkeypatch.setattr(trial, "train", None)  # the training is there already
    again = looksharp.cure(run, **settings, ceiling=run)
    assert [column.name for column in again.others] == ["ceiling"]
    results = json.loads((tmp_path / "cured" / "results.json").read_text())
    assert (list(results["classifiers"]), list(results["verdicts"])) == (["before", "cure", "ceiling"], ["cure"])
    inside = tuple({s: v["attention_inside"] for s, v in m.splits.items()} for m in (again.before, again.after))
    proofs = again.before.interventions, again.after.interventions
    assert again.verdict == judge(*proofs, inside, ceiling=again.others[0].interventions)
    assert results["classifiers"]["ceiling"]["description"] == f"{run}, trained without the cue."


def test_a_ceiling_of_another_task_is_refused(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    facts = json.loads((other / "run.json").read_text())
    facts["classes"] = facts["classes"][::-1]
    (other / "run.json").write_text(json.dumps(facts))
    with pytest.raises(
        ValueError, match=rf"^ceiling {other} has other classes than {run}; name a run of the same task"
    ):
        looksharp.cure(run, **SETTINGS | {"out": tmp_path / "cured"}, ceiling=other)
