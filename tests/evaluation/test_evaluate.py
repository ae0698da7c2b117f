from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from PIL import Image

from looksharp import attend
from looksharp.data.splits.files import FileSplit
from looksharp.evaluation import SUITES, evaluate
from looksharp.evaluation.subject import class_sizes, listed, means_by
from looksharp.evaluation.suite import Separate, check_suites, forwards
from looksharp.interventions.intervene import intervene
from looksharp.marks.marks import Marks
from looksharp.metrics.faithfulness.average_drop import average_drop
from looksharp.metrics.faithfulness.insertion_deletion import deletion, insertion
from looksharp.metrics.faithfulness.road import road

ALL = ("classification", "attention", "boxes", "faithfulness", "ten_crop", "interventions", "sanity", "segmentation")
QUICK = tuple(name for name in SUITES if name != "faithfulness")


def assert_close(found, expected):
    assert found.values.keys() == expected.values.keys()
    for name, value in expected.values.items():
        # In `map_iou` rounding may decide about a pixel.
        assert found.values[name] == pytest.approx(value, abs=1e-3 if name == "map_iou" else 2e-5), name


def test_today_s_names_come_first(model, split, data):
    found = evaluate(model, replace(split, groups=split.targets % 2), data.pixels)
    first = ["top1", "top5", "map", "worst_group", "loss", "attention_inside", "overlap_last", "overlap_inner"]
    assert list(found.values)[:8] == first
    assert {"consistency", "no_attention"} <= found.values.keys()


def test_suites_together_find_what_each_finds(model, split, data):
    together = evaluate(model, split, data.pixels, suites=QUICK)
    values, per_image = {}, {}
    for suite in QUICK:
        alone = evaluate(model, split, data.pixels, suites=[suite])
        assert not values.keys() & alone.values.keys()
        values |= alone.values
        per_image |= alone.per_image
    assert together.values == pytest.approx(values, abs=1e-6)
    assert together.per_image.keys() == per_image.keys()
    assert {"top1", "attention_inside", "max_box_acc", "average_precision"} <= together.tables["per_class"].keys()
    assert {"attention_inside", "max_box_acc", "edges"} <= together.tables["by_size"].keys()
    assert together.tables["confused_pairs"][0]["overlap"] is not None  # the suite that knows more counts


def test_every_column_has_a_value_for_every_image(model, split, data):
    few = replace(split, images=split.images[:12], targets=split.targets[:12], marks=split.marks.restricted(range(12)))
    found = evaluate(model, few, data.pixels, suites="all")
    assert all(column.shape == (12,) and column.dtype == torch.float32 for column in found.per_image.values())
    assert all(isinstance(value, float) and value == value for value in found.values.values())


@pytest.mark.parametrize("labels", ["one", "several"])
def test_the_batch_size_changes_nothing(labels, model, split, several, data):
    chosen = split if labels == "one" else several
    whole = evaluate(model, chosen, data.pixels, suites=QUICK, batch_size=64)
    for size in (1, 7):
        found = evaluate(model, chosen, data.pixels, suites=QUICK, batch_size=size)
        assert_close(found, whole)
        for name, column in whole.per_image.items():
            assert torch.allclose(found.per_image[name], column, atol=5e-3, equal_nan=True), name


def test_the_order_changes_nothing(model, split, data):
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    place = order.argsort().tolist()
    pairs = Marks([place[i] for i in split.marks.samples], split.marks.labels, split.marks.masks)
    mixed = replace(split, images=split.images[order], targets=split.targets[order], marks=pairs)
    suites = ("classification", "attention", "boxes", "ten_crop")  # interventions draw by place
    whole, found = (evaluate(model, each, data.pixels, suites=suites, batch_size=5) for each in (split, mixed))
    assert_close(found, whole)
    for name, column in whole.per_image.items():
        assert torch.allclose(found.per_image[name], column[order], atol=5e-3, equal_nan=True), name
    assert [row["count"] for row in found.tables["confused_pairs"]] == [
        row["count"] for row in whole.tables["confused_pairs"]
    ]


def test_what_it_leaves_as_it_was(model, split, data):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, split, data.pixels, suites=QUICK)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_forwards_are_as_many_as_suites_say(model, split, data):
    """Suites that share a forward are counted by it; the maps' share of one is no forward."""
    calls, few = [], replace(split, images=split.images[:4], targets=split.targets[:4], marks=None)
    evaluate(model, few, data.pixels, suites=["attention"])  # finds the network's layers by a forward, once
    hook = model.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    for suite, extra in {"classification": 0, "attention": 0, "boxes": 0, "faithfulness": 122, "ten_crop": 9}.items():
        calls.clear()
        evaluate(model, few, data.pixels, suites=[suite], batch_size=3)
        assert sum(calls) == 4 * (1 + extra), suite
    calls.clear()
    evaluate(model, split, data.pixels, suites=["interventions"])
    assert 3 * 24 < sum(calls) <= SUITES["interventions"].forwards * 24  # some digits have nothing to exchange with
    hook.remove()


def test_the_cost_of_suites_together():
    assert forwards(["classification"]) == 1
    assert forwards(["classification", "attention"]) == 1.5
    assert forwards(["ten_crop"]) == 10
    assert forwards(["attention", "ten_crop"]) == 11.5
    assert forwards([]) == 0


def test_progress_counts_the_forwards(model, split, data, capsys):
    suites = ("attention", "ten_crop", "interventions", "sanity")
    evaluate(model, split, data.pixels, suites=suites, progress="testing", batch_size=8)
    shown = capsys.readouterr().err
    assert "testing:" in shown
    assert f"/{24 * forwards(suites):.0f} " in shown
    evaluate(model, split, data.pixels, suites=["classification"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["classification", "attention", "boxes", "ten_crop"])
def test_a_network_on_images_of_files_and_in_memory(name, model, split, data, tmp_path):
    """The same pixels, read from files, give the same."""
    for index in range(6):
        Image.fromarray(split.images[index].permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")
    pairs = split.marks.restricted(range(6))
    files = FileSplit(targets=split.targets[:6], marks=pairs, root=tmp_path, paths=[f"{i}.png" for i in range(6)])
    memory = replace(split, images=split.images[:6], targets=split.targets[:6], marks=pairs)
    found, expected = (evaluate(model, each, data.pixels, suites=[name], batch_size=4) for each in (files, memory))
    if name == "ten_crop":  # whose views are cut from larger images
        assert found.values.keys() == expected.values.keys()
    else:
        assert_close(found, expected)


def test_interventions_are_those_of_the_library(model, split, data):
    found = evaluate(model, split, data.pixels, suites=["interventions"])
    expected = intervene(model, split, data.pixels)
    assert found.values == expected.values
    for name, outcomes in expected.outcomes.items():
        column = found.per_image[name]
        assert column[expected.images].tolist() == pytest.approx(outcomes.tolist())
        assert column.isnan().sum() == 24 - len(expected.images)
    assert found.tables["interventions"]["images"] == len(expected.images)
    assert found.tables["interventions"]["intervals"]["background_gap"] == list(expected.intervals["background_gap"])
    without = evaluate(model, replace(split, marks=None), data.pixels, suites=["interventions"])
    assert without.values == without.per_image == without.tables == {}


def test_faithfulness_is_of_the_predicted_class(model, several, split, data):
    images = data.pixels.normalize(split.images[:9])
    found = attend(model, images)  # of the highest-scoring class
    (maps,) = found.maps.values()
    for whole, several_labels in ((split, False), (several, True)):
        each = replace(whole, images=whole.images[:9], targets=whole.targets[:9], marks=None)
        given = model, images, maps[:, 0], found.classes[:, 0]
        measured = evaluate(model, each, data.pixels, suites=["faithfulness"]).per_image
        change = average_drop(*given, multilabel=several_labels)
        expected = {
            "insertion": insertion(*given, multilabel=several_labels),
            "deletion": deletion(*given, multilabel=several_labels),
            "average_drop": change.drop / 100,
            "confidence_increase": change.increase / 100,
            "road": road(*given, multilabel=several_labels).combined(),
        }
        assert measured.keys() == expected.keys()
        for name, values in expected.items():
            assert measured[name].tolist() == pytest.approx(values.tolist(), abs=1e-3, nan_ok=True), name


def test_an_empty_split(model, split, data):
    empty = replace(split, images=split.images[:0], targets=split.targets[:0], marks=None)
    found = evaluate(model, empty, data.pixels, suites="all")
    assert found.values == found.per_image == {}


def test_suites_by_name():
    assert check_suites("all") == ALL
    assert check_suites(["attention", "classification", "attention"]) == ("classification", "attention")
    assert all(isinstance(suite.cost, str) and suite.forwards >= 0 for suite in SUITES.values())
    assert isinstance(SUITES["ten_crop"], Separate)
    with pytest.raises(ValueError, match="suite 'speed' is not known; there are classification, attention, boxes"):
        check_suites(["speed"])
    with pytest.raises(ValueError, match="suites must be at least one of classification, attention"):
        check_suites([])


def test_errors(model, split, data):
    with pytest.raises(ValueError, match="layers must name two, the inner one and the last; got stage3"):
        evaluate(model, split, data.pixels, layers=["stage3"])
    with pytest.raises(ValueError, match="layer 'zebra' is not in SmallNet"):
        evaluate(model, split, data.pixels, layers=["stage2", "zebra"])
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        evaluate(model, split, data.pixels, batch_size=0)
    with pytest.raises(ValueError, match=r"images are \(48, 48\) pixels and must be \(32, 32\)"):
        evaluate(model, split, replace(data.pixels, size=(32, 32)))


def test_means_at_an_index_one_by_one():
    generator = torch.Generator().manual_seed(0)
    values, index = torch.rand(30, generator=generator), torch.randint(0, 5, (30,), generator=generator)
    values[::4] = torch.nan
    found = means_by(values, index, 6)
    for place in range(5):
        own = [v for v, i in zip(values.tolist(), index.tolist(), strict=True) if i == place and v == v]
        assert found[place].item() == pytest.approx(sum(own) / len(own))
    assert found[5].isnan()


def test_small_helpers():
    assert listed(torch.tensor([[1.0, torch.nan]])) == [[1.0, None]]
    assert listed(torch.tensor(3)) == 3
    assert class_sizes(torch.tensor([0, 2, 2]), 4).tolist() == [1, 0, 2, 0]
    assert class_sizes(torch.tensor([[1, 1], [0, 1]]), 2).tolist() == [1, 2]


@pytest.mark.parametrize("suite", ALL)
def test_weights_that_are_not_finite_are_no_result(suite, model, split, data):
    broken = deepcopy(model)
    with torch.no_grad():
        next(broken.parameters())[0] = torch.nan
    with pytest.raises(ValueError, match=r"^the network's weights '\S+' are not finite \(NaN or "):
        evaluate(broken, split, data.pixels, suites=[suite])


@pytest.mark.parametrize("suite", ALL)
def test_answers_that_are_not_finite_are_no_result(suite, model, split, data):
    pixels = replace(data.pixels, std=(1e-39,) * 3)
    with pytest.raises(ValueError, match=r"^the network's answers are not finite"):
        evaluate(model, split, pixels, suites=[suite])


def test_maps_that_are_not_finite_are_no_result(model, split, data):
    def nothing(features, gradients):
        return torch.full_like(features[:, :1], torch.nan)

    with pytest.raises(ValueError, match=r"^the maps of layer '\S+' are not finite"):
        evaluate(model, split, data.pixels, suites=["attention"], mechanism=nothing)


def test_a_class_that_is_ruled_out_is_a_result(model, split, data):
    class Certain(torch.nn.Module):
        def forward(self, images):
            return torch.full((len(images), 10), -torch.inf).index_fill(1, torch.tensor([3]), 0.0)

    found = evaluate(Certain(), split, data.pixels, suites=["classification"])
    assert found.values["top1"] == pytest.approx(float((split.targets == 3).float().mean()))
