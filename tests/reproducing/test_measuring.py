import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from looksharp.data.sets.synthetic import digits
from looksharp.reproducing.measuring import CHECKPOINTS, figure_name, measure_run
from looksharp.reproducing.recipe import parse_recipe
from looksharp.training import load_run, train
from looksharp.training.settings import RunConfig


def recipe(name, **measures):
    """Figures of the class `name`."""
    known = {
        "top1": {"value": "top1"},
        "found": {"suite": "recall", "value": "recall", "of_class": name},
        "AP": {"value": "average_precision", "of_class": name, "unit": "plain"},
        "parameters": {"suite": "cost", "value": "parameters", "unit": "plain"},
        "without": {"suite": "cue", "value": "without_cue"},
        "alone": {"suite": "cue", "value": "cue_alone", "unit": "error"},
    }
    values = {"paper": "P", "title": "T", "data": "--root", "images": 1, "gflops": 1, "cue": name, "rows": {"row": {}}}
    return parse_recipe("p/t", values | {"measure": known | measures})


@pytest.fixture(scope="module")
def data():
    return digits(train=160, val=16, test=80)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    settings = {"device": "cpu", "workers": 0, "epochs": 3, "batch_size": 16, "optimizer": "adamw", "lr": 0.01}
    return train(RunConfig.from_flat(settings), tmp_path_factory.mktemp("run") / "run", data=data, progress=False)


def logits_of(run, data, checkpoint):
    with torch.no_grad():
        return load_run(run.path, checkpoint, "cpu").model(data.pixels.normalize(data.splits["test"].images))


@pytest.fixture(scope="module")
def favourite(run, data):
    """The class that the network names most often, rightly or not."""
    return int(logits_of(run, data, "last").argmax(1).mode().values)


def measured(run, data, what, **options):
    """Metric -> checkpoint -> figure, and the number of parameters."""
    values = measure_run(what, run.path, data, smoke=True, device="cpu", workers=0, progress=False, **options)
    names = {m: {c: figure_name(m, c) for c in CHECKPOINTS} for m in what.measure}
    figures = {m: {c: values[name] for c, name in each.items() if name in values} for m, each in names.items()}
    return figures, values["parameters"]


def test_figures_of_both_checkpoints_are_what_their_logits_say(run, data, favourite):
    figures, parameters = measured(run, data, recipe(str(favourite)))
    targets = data.splits["test"].targets
    present = targets == favourite
    for checkpoint in ("last", "best"):
        logits = logits_of(run, data, checkpoint)
        answers = logits.argmax(1)
        assert figures["top1"][checkpoint] == pytest.approx(100 * float((answers == targets).double().mean()))
        assert figures["found"][checkpoint] == pytest.approx(
            100 * float((answers[present] == favourite).double().mean())
        )
        odds = logits.double().softmax(1)[:, favourite].numpy()
        assert figures["AP"][checkpoint] == pytest.approx(average_precision_score(present.numpy(), odds), abs=1e-6)
    assert figures["found"]["last"] > 0
    assert parameters == sum(each.numel() for each in run.model.parameters())
    assert figures["parameters"]["last"] == pytest.approx(parameters / 1e6)
    assert figures["without"] == figures["alone"] == {}  # no folders were given


def test_the_cue_is_tested_on_two_folders(run, data, favourite, tmp_path):
    """Of four images without the cue one is named, so 25% are right; of two of the cue alone one is, so 50% are."""
    answers = logits_of(run, data, "last").argmax(1)
    named, others = ((answers == favourite) == yes for yes in (True, False))
    named, others = named.nonzero().flatten().tolist(), others.nonzero().flatten().tolist()
    for name, chosen in {"without_cue": [named[0], *others[:3]], "cue_alone": [named[0], others[0]]}.items():
        (tmp_path / name).mkdir()
        for place in chosen:
            pixels = data.splits["test"].images[place].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / name / f"{place}.png")
    figures, _ = measured(run, data, recipe(str(favourite)), cue=tmp_path)
    assert figures["without"]["last"] == pytest.approx(25)
    assert figures["alone"]["last"] == pytest.approx(50)  # an error, so that both units are seen


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ({"value": "top1", "split": "test_2"}, "x is measured on split 'test_2'; the data has test"),
        ({"value": "average_precision", "of_class": "boat"}, "x is of class 'boat', which is not one of the data's"),
        ({"suite": "recall", "value": "recall", "of_class": "boat"}, "x is of class 'boat' and split 'test', which "),
    ],
)
def test_what_the_data_lacks_is_named(run, data, measure, message):
    with pytest.raises(ValueError, match=message):
        measured(run, data, recipe("3", x=measure))
