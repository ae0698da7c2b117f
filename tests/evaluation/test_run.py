from dataclasses import replace
from functools import partial

import pytest
import torch
from PIL import Image
from tqdm import tqdm

from looksharp.attention.mechanisms.grad_cam import grad_cam
from looksharp.attention.mechanisms.occlusion import Occlusion
from looksharp.data.build import DataConfig
from looksharp.data.class_map import renamed
from looksharp.data.sets.synthetic import biased_digits
from looksharp.data.split import Split
from looksharp.data.splits.files import FileSplit
from looksharp.evaluation import evaluate, evaluate_run, run
from looksharp.evaluation.fingerprint import file_fingerprint, split_fingerprint
from looksharp.marks.marks import Marks
from looksharp.training import load_run, train
from looksharp.training.settings import RunConfig, TrainingConfig

QUIET = {"device": "cpu", "workers": 0, "progress": False}
DEFAULT = ["classification", "attention"]


@pytest.fixture(scope="module")
def data():
    return biased_digits(train=64, val=16, test=16)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    config = RunConfig(data=DataConfig("biased_digits"), training=TrainingConfig(epochs=1, device="cpu", workers=0))
    return train(config, tmp_path_factory.mktemp("runs") / "digits", data=data, progress=False)


@pytest.fixture
def folder(trained, tmp_path):
    """The run, its evaluations forgotten."""
    out = tmp_path / "digits"
    out.mkdir()
    for name in ("config.yaml", "run.json", "metrics.csv", "checkpoints"):
        (out / name).symlink_to(trained.path / name)
    return out


@pytest.fixture
def measured(monkeypatch):
    """The suites measured, call by call."""
    calls, whole = [], run.measure_suites

    def measure_suites(subject, suites, advance):
        if suites:
            calls.append((subject.split, list(suites)))
        return whole(subject, suites, advance)

    monkeypatch.setattr(run, "measure_suites", measure_suites)
    return calls


def suites_of(calls):
    found = [suites for _, suites in calls]
    calls.clear()
    return found


def test_every_test_split_is_evaluated(folder, trained, data):
    found = evaluate_run(folder, data=data, **QUIET)
    assert list(found) == ["biased", "unbiased", "conflicting"]
    for name, split in data.tests.items():
        expected = evaluate(trained.model, split, data.pixels, classes=data.classes)
        assert found[name].values == pytest.approx(expected.values, abs=1e-6)
        assert list(found[name].values) == list(expected.values)
        assert found[name].per_image.keys() == expected.per_image.keys()
        assert found[name].tables["classes"] == list(data.classes)


def test_the_runs_own_data_is_built(folder, data, measured, monkeypatch):
    asked = []
    monkeypatch.setattr(run, "build_data", lambda config, seed: asked.append((config, seed)) or data)
    evaluate_run(folder, **QUIET)
    assert asked == [(DataConfig("biased_digits"), 0)]
    assert {id(split) for split, _ in measured} == {id(split) for split in data.tests.values()}


def test_only_what_is_missing_is_measured(folder, data, measured):
    first = evaluate_run(folder, data=data, suites=["classification"], **QUIET)
    assert suites_of(measured) == [["classification"]] * 3
    both = evaluate_run(folder, data=data, **QUIET)
    assert suites_of(measured) == [["attention"]] * 3
    again = evaluate_run(folder, data=data, **QUIET)
    assert suites_of(measured) == []
    for name in data.tests:
        assert again[name].values == both[name].values
        assert again[name].tables == both[name].tables
        for column, values in both[name].per_image.items():
            assert torch.equal(again[name].per_image[column].nan_to_num(-1), values.nan_to_num(-1))
        assert first[name].values.items() <= both[name].values.items()
    evaluate_run(folder, data=data, refresh=True, **QUIET)
    assert suites_of(measured) == [DEFAULT] * 3


def test_what_is_kept_is_of_the_same_mechanism_and_layers(folder, data, measured):
    evaluate_run(folder, data=data, **QUIET)
    measured.clear()
    for options in ({"mechanism": "layer_cam"}, {"layers": ["stage1", "stage3"]}):
        evaluate_run(folder, data=data, **QUIET, **options)
        assert suites_of(measured) == [["attention"]] * 3  # classification has neither
        evaluate_run(folder, data=data, **QUIET, **options)
        assert suites_of(measured) == []


def test_a_mechanism_with_settings_is_kept_by_them(folder, data, measured):
    for mechanism in ("occlusion:24", "occlusion:window=24", Occlusion(24), "occlusion:12"):
        evaluate_run(folder, data=data, mechanism=mechanism, **QUIET)
    assert suites_of(measured) == [DEFAULT] * 3 + [["attention"]] * 3
    with pytest.raises(ValueError, match="mechanism 'occlusion' reads no layer that could be chosen"):
        evaluate_run(folder, data=data, mechanism="occlusion", layers=["stage1", "stage3"], **QUIET)


def test_a_mechanism_without_a_name_is_not_kept(folder, data, measured):
    for _ in range(2):
        evaluate_run(folder, data=data, mechanism=partial(grad_cam), **QUIET)
    assert suites_of(measured) == [DEFAULT] * 3 + [["attention"]] * 3
    evaluate_run(folder, data=data, **QUIET)
    measured.clear()
    evaluate_run(folder, data=data, mechanism=grad_cam, **QUIET)  # the same by its name
    assert suites_of(measured) == []


def test_what_is_kept_is_of_the_same_weights(folder, trained, data, measured):
    evaluate_run(folder, data=data, checkpoint="last", **QUIET)
    evaluate_run(folder, data=data, checkpoint="best", **QUIET)
    assert suites_of(measured) == [DEFAULT] * 6
    state = torch.load(trained.path / "checkpoints" / "last.ckpt", weights_only=True)
    state["state_dict"]["model.fc.bias"] += 1
    (folder / "checkpoints").unlink()
    (folder / "checkpoints").mkdir()
    torch.save(state, folder / "checkpoints" / "last.ckpt")
    evaluate_run(folder, data=data, **QUIET)
    assert suites_of(measured) == [DEFAULT] * 3


def test_what_is_kept_is_of_the_same_data(folder, data, measured):
    only = replace(data, splits={"train": data.splits["train"], "val": data.splits["val"]})  # val is then the test
    evaluate_run(folder, data=only, suites=["classification"], **QUIET)
    split = only.splits["val"]
    masks = torch.stack(list(split.marks.masks))
    moved = Marks(split.marks.samples, split.marks.labels, masks.roll(1, 2))
    changes = {
        "images": split.images.roll(1, 3),
        "targets": split.targets.flip(0),
        "groups": 1 - split.groups,
        "marks": moved,
    }
    measured.clear()
    for name, value in changes.items():
        other = replace(only, splits=only.splits | {"val": replace(split, **{name: value})})
        evaluate_run(folder, data=other, suites=["classification"], **QUIET)
        assert suites_of(measured) == [["classification"]], name
    evaluate_run(folder, data=only, suites=["classification"], **QUIET)
    assert suites_of(measured) == []
    renamed = replace(data, splits=only.splits | {"test": split})
    evaluate_run(folder, data=renamed, suites=["classification"], **QUIET)
    assert suites_of(measured) == [["classification"]]


def test_damaged_files_are_measured_again(folder, data, measured):
    first = evaluate_run(folder, data=data, **QUIET)
    for file in (folder / "evaluation").glob("*-biased-attention-*.safetensors"):
        file.write_bytes(b"")
    measured.clear()
    again = evaluate_run(folder, data=data, **QUIET)
    assert [(split is data.splits["biased"], suites) for split, suites in measured] == [(True, ["attention"])]
    assert again["biased"].values == pytest.approx(first["biased"].values)


def test_a_run_that_cannot_be_written_to(folder, data, measured):
    (folder / "evaluation").write_text("no folder")
    for _ in range(2):
        evaluate_run(folder, data=data, suites=["classification"], **QUIET)
    assert suites_of(measured) == [["classification"]] * 6


def test_progress_over_all_splits(folder, data, capsys):
    evaluate_run(folder, data=data, suites=["classification"], **QUIET)
    assert capsys.readouterr().err == ""
    evaluate_run(folder, data=data, suites=["classification", "ten_crop"], **(QUIET | {"progress": True}))
    shown = capsys.readouterr().err
    assert "digits:" in shown  # the folder's name
    assert f"/{3 * 16 * 10}" in shown  # without what is known already
    with tqdm(total=1000, disable=False) as bar:
        evaluate_run(folder, data=data, suites=["classification", "attention"], **(QUIET | {"progress": bar}))
        assert bar.n == 3 * 16 * 1.5
        assert bar.total == 1000  # nobody knew that the forward would be needed still
        evaluate_run(folder, data=data, suites=["classification", "attention"], **(QUIET | {"progress": bar}))
        assert bar.n == 3 * 16 * 1.5
        assert bar.total == 1000 - 3 * 16 * 1.5


def test_errors(folder, trained, data, tmp_path):
    with pytest.raises(ValueError, match=r"nothing is not a run folder: it has no config\.yaml"):
        evaluate_run(tmp_path / "nothing", **QUIET)
    with pytest.raises(ValueError, match="suite 'speed' is not known; there are classification"):
        evaluate_run(folder, suites=["speed"], **QUIET)
    with pytest.raises(ValueError, match="mechanism 'guess' is not known"):
        evaluate_run(folder, mechanism="guess", **QUIET)
    with pytest.raises(ValueError, match="layers must name two"):
        evaluate_run(folder, data=data, layers=["stage1"], **QUIET)
    other = replace(data, classes=("cat", "dog"))
    with pytest.raises(ValueError, match="has other classes than the run: 2, first 'cat', and not 10, first '0'"):
        evaluate_run(folder, data=other, **QUIET)
    assert load_run(folder, device="cpu").classes == data.classes


# Fingerprints ----------------------------------------------------------------------------------------------------


def test_files_of_one_content_are_alike(tmp_path):
    for name, content in {"a": b"x" * 100, "b": b"x" * 100, "c": b"x" * 99 + b"y"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c = (file_fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c


def test_image_files_are_known_by_size_and_time(tmp_path, data):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    split = FileSplit(targets=torch.tensor([0]), root=tmp_path, paths=["a.png"])
    first = split_fingerprint(split, data.pixels)
    assert split_fingerprint(split, data.pixels) == first
    assert split_fingerprint(split, replace(data.pixels, size=(9, 9))) != first
    Image.new("RGB", (8, 8), (9, 0, 0)).save(path)
    assert split_fingerprint(split, data.pixels) != first
    path.unlink()
    assert split_fingerprint(split, data.pixels) != first  # reading reports it


class Drawn(Split):
    """Images of no known kind."""

    def image(self, index):
        return torch.full((3, 4, 4), int(self.targets[index]), dtype=torch.uint8)

    def loader(self, batches, pixels, **options):
        raise NotImplementedError


def test_other_splits_are_known_by_some_of_their_pixels(data):
    a, b = (split_fingerprint(Drawn(torch.full((100,), value)), data.pixels) for value in (1, 2))
    assert a != b
    assert split_fingerprint(Drawn(torch.full((100,), 1)), data.pixels) == a
    assert split_fingerprint(Drawn(torch.full((100,), 1.0)), data.pixels) != a


def test_a_run_whose_weights_are_not_finite(folder, data):
    loaded = load_run(folder, device="cpu")
    evaluate_run(loaded, data=data, **QUIET)  # what is kept is not read either
    with torch.no_grad():
        next(loaded.model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match=r"digits, checkpoint last: the network's weights '\S+' are not finite"):
        evaluate_run(loaded, data=data, **QUIET)


def test_images_of_some_of_the_classes_called_otherwise_are_measured_over_the_runs_classes(folder, trained, data):
    """Against the network's own answers, image by image."""
    words = {"3": "Three", "1": "one", "7": "7"}
    few = renamed(data, {**dict.fromkeys("0123456789"), **words})
    assert few.classes == ("one", "Three", "7")
    back = renamed(few, {"one": "1", "three": "3"})
    found = evaluate_run(folder, data=back, **QUIET)["unbiased"]
    split = data.splits["unbiased"]
    kept = [place for place, target in enumerate(split.targets.tolist()) if target in (1, 3, 7)]
    images = data.pixels.normalize(split.images[kept])
    with torch.no_grad():
        answers = trained.model(images.to(next(trained.model.parameters()).device)).argmax(1).cpu()
    assert found.values["top1"] == pytest.approx((answers == split.targets[kept]).double().mean())
    counts = split.targets[kept].bincount(minlength=10).tolist()
    assert found.tables["classes"] == list("0123456789")
    assert found.tables["per_class"]["images"] == counts


def test_a_run_goes_on_with_its_own_classes(trained, data, tmp_path):
    """As a cure does whose data have some of a model's classes, when its training is continued by hand."""
    config = replace(trained.config, training=replace(trained.config.training, epochs=1))
    train(config, tmp_path / "run", data=data, progress=False)
    longer = replace(config, training=replace(config.training, epochs=2))
    few = renamed(data, {"0": "2"})
    assert len(few.classes) == 9
    run = train(longer, tmp_path / "run", data=few, resume=True, progress=False)
    assert run.classes == data.classes
    assert [row["epoch"] for row in run.history] == [0, 1]
