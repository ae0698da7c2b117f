import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score
from torch.nn import functional as F
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from looksharp.data.sets.synthetic import biased_digits
from looksharp.evaluation import evaluate
from looksharp.evaluation.suites import classification


def measure(model, split, pixels, **options):
    return evaluate(model, split, pixels, suites=["classification"], **options)


def test_one_label(model, split, logits, data):
    targets, odds = split.targets, logits.double().softmax(1)
    ranks = [row.argsort(descending=True).tolist().index(int(t)) for row, t in zip(logits, targets, strict=True)]
    wrong = [max(p for c, p in enumerate(row) if c != t) for row, t in zip(odds.tolist(), targets, strict=True)]
    true = odds[torch.arange(24), targets]
    truth = F.one_hot(targets, 10)
    present = truth.any(0)
    columns = {
        "top1": [float(rank < 1) for rank in ranks],
        "top5": [float(rank < 5) for rank in ranks],
        "loss": (-true.log()).tolist(),
        "confidence": odds.amax(1).tolist(),
        "true_probability": true.tolist(),
        "confused_probability": wrong,
    }
    found = measure(model, split, data.pixels)
    assert found.per_image.keys() == columns.keys()
    for name, column in columns.items():
        assert found.per_image[name].tolist() == pytest.approx(column, abs=1e-5)
    expected = {name: sum(columns[name]) / 24 for name in ("top1", "top5", "loss")}
    expected["map"] = average_precision_score(truth[:, present], odds[:, present], average="macro")
    expected["roc_auc"] = roc_auc_score(truth[:, present], odds[:, present], average="macro")
    expected["calibration_error"] = multiclass_calibration_error(logits, targets, 10).item()
    values = found.values
    margin, at = values["ks_margin"], values["ks_at"]
    assert {name: value for name, value in values.items() if not name.startswith("ks_")} == pytest.approx(
        expected, abs=1e-5
    )
    exact = ks_2samp(true.numpy(), wrong)
    assert margin == pytest.approx(exact.statistic, abs=2 / 24)  # bins of 1/200
    assert margin == pytest.approx(abs((true <= at).double().mean().item() - sum(w <= at for w in wrong) / 24))


def test_tables_of_one_label(model, split, logits, data):
    tables = measure(model, split, data.pixels, classes=data.classes).tables
    targets, predicted = split.targets.tolist(), logits.argmax(1).tolist()
    assert tables["classes"] == list(data.classes)
    for label in range(10):
        mine = [p == t for p, t in zip(predicted, targets, strict=True) if t == label]
        assert tables["per_class"]["images"][label] == len(mine)
        found = {name: tables["per_class"][name][label] for name in ("top1", "average_precision", "roc_auc")}
        if not mine:
            assert set(found.values()) == {None}
            continue
        truth, scores = [t == label for t in targets], logits.softmax(1)[:, label].tolist()
        assert found == pytest.approx(
            {
                "top1": sum(mine) / len(mine),
                "average_precision": average_precision_score(truth, scores),
                "roc_auc": roc_auc_score(truth, scores),
            },
            abs=1e-6,
        )
    assert sum(tables["calibration"]["predictions"]) == 24
    errors = [(t, p) for t, p in zip(targets, predicted, strict=True) if t != p]
    assert {tuple(row["classes"]): row["count"] for row in tables["confused_pairs"]} == {
        pair: errors.count(pair) for pair in errors
    }
    assert {row["overlap"] for row in tables["confused_pairs"]} == {None}
    assert tables["confused_pairs"][0]["true"] in data.classes
    chart = tables["separation_chart"]
    assert len(chart["probability"]) == len(chart["target"]) == len(chart["confused"]) == 201
    assert chart["target"][-1] == chart["confused"][-1] == 1


def test_several_labels(model, several, logits, data):
    odds, targets = logits.double().sigmoid(), several.targets
    assert targets.any(0).all()
    expected = {
        "map": average_precision_score(targets.numpy(), odds.numpy(), average="macro"),
        "roc_auc": roc_auc_score(targets.numpy(), odds.numpy(), average="macro"),
        "loss": -torch.where(targets == 1, odds.log(), (1 - odds).log()).mean().item(),
        "calibration_error": binary_calibration_error(odds.flatten(), targets.flatten(), n_bins=15).item(),
        "attribute_accuracy": accuracy_score(targets.flatten(), (odds > 0.5).flatten()),
    }
    found = measure(model, several, data.pixels)
    assert {name: found.values[name] for name in expected} == pytest.approx(expected, abs=2e-5)
    assert found.values.keys() == {*expected, "ks_margin", "ks_at"}
    true, confused, pairs = [], [], []
    for row, target in zip(odds, targets.bool(), strict=True):
        own = row[target].tolist()
        true.append(sum(own) / len(own) if own else math.nan)
        wrong = row[~target].max().item() if own and not target.all() else math.nan
        confused.append(wrong)
        pairs += [(p, wrong) for p in own if not math.isnan(wrong)]
    assert found.per_image["true_probability"].tolist() == pytest.approx(true, abs=1e-5, nan_ok=True)
    assert found.per_image["confused_probability"].tolist() == pytest.approx(confused, abs=1e-5, nan_ok=True)
    assert found.per_image["confidence"].tolist() == pytest.approx(odds.amax(1).tolist(), abs=1e-5)
    chart = found.tables["separation_chart"]
    for edge, of_true, of_wrong in zip(chart["probability"], chart["target"], chart["confused"], strict=True):
        assert of_true == pytest.approx(sum(p <= edge for p, _ in pairs) / len(pairs))
        assert of_wrong == pytest.approx(sum(w <= edge for _, w in pairs) / len(pairs))
    counted = sum(row["count"] for row in found.tables["confused_pairs"])
    assert counted == sum(w > p for p, w in pairs)


def test_a_class_without_positives_is_left_out_of_the_mean(model, several, logits, data):
    targets = several.targets.clone()
    targets[:, 4] = 0
    present = [label for label in range(10) if label != 4]
    expected = average_precision_score(targets[:, present], logits.sigmoid()[:, present], average="macro")
    found = measure(model, replace(several, targets=targets), data.pixels)
    assert found.values["map"] == pytest.approx(expected, abs=1e-5)
    nothing = measure(model, replace(several, targets=torch.zeros_like(targets), marks=None), data.pixels)
    assert nothing.values.keys() == {"map", "loss", "calibration_error", "attribute_accuracy"}
    assert nothing.values["map"] == 0
    assert nothing.per_image.keys() == {"loss", "confidence"}
    assert nothing.tables["confused_pairs"] == []


def test_groups(model):
    data = biased_digits(train=1, val=1, test=40)
    split = data.splits["unbiased"]
    split = replace(split, groups=torch.arange(40) % 7 * 2)  # odd groups are empty
    with torch.no_grad():
        right = (model(data.pixels.normalize(split.images)).argmax(1) == split.targets).double()
    expected = [right[split.groups == group].mean().item() if group % 2 == 0 else None for group in range(13)]
    for size in (3, 40):
        found = measure(model, split, data.pixels, batch_size=size)
        assert found.values["worst_group"] == pytest.approx(min(e for e in expected if e is not None), abs=1e-6)
        assert found.tables["by_group"]["top1"] == [e if e is None else pytest.approx(e) for e in expected]
        assert found.tables["by_group"]["images"] == split.groups.bincount().tolist()
    assert found.values["worst_group"] <= found.values["top1"] == pytest.approx(right.mean().item())


def test_many_scores_are_ranked_in_bins(model, split, several, logits, data, monkeypatch):
    monkeypatch.setattr(classification, "_EXACT", 239)  # 24 images of 10 classes are 240 scores
    assert classification.new_ranking(24, 10).bins == 2048
    assert classification.new_ranking(23, 10).bins is None
    for each, odds in ((split, logits.double().softmax(1)), (several, logits.double().sigmoid())):
        truth = each.targets if each.targets.ndim == 2 else F.one_hot(each.targets, 10)
        present, binned = truth.any(0), ((odds / (1 - odds)).log() * 64).floor()
        found = measure(model, each, data.pixels).values
        for name, score in {"map": average_precision_score, "roc_auc": roc_auc_score}.items():
            expected = score(truth[:, present], binned[:, present], average="macro")
            assert found[name] == pytest.approx(expected, abs=5e-3)  # where rounding decides about a bin


def test_names_must_fit_the_network(model, split, data):
    with pytest.raises(ValueError, match="classes must name the network's 10; got 2"):
        measure(model, split, data.pixels, classes=["cat", "dog"])


def test_labels_that_are_not_known_are_left_out(model, several, logits, data):
    targets = several.targets.clone()
    unknown = torch.rand(targets.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    targets[unknown] = -1
    targets[:, 3] = -1
    odds, known = logits.double().sigmoid(), targets >= 0
    accuracies, areas = [], []
    for label in range(10):
        rows = known[:, label]
        if rows.any():
            accuracies.append(accuracy_score(targets[rows, label], odds[rows, label] > 0.5))
        if targets[rows, label].unique().numel() == 2:
            areas.append(roc_auc_score(targets[rows, label], odds[rows, label]))
    per_image = [
        torch.where(row == 1, p.log(), (1 - p).log())[row >= 0].mean() for row, p in zip(targets, odds, strict=True)
    ]
    expected = {
        "attribute_accuracy": sum(accuracies) / 9,
        "roc_auc": sum(areas) / len(areas),
        "loss": -torch.stack(per_image).nan_to_num(0).mean().item(),
        "calibration_error": binary_calibration_error(odds[known], targets[known], n_bins=15).item(),
    }
    found = measure(model, replace(several, targets=targets), data.pixels)
    assert {name: found.values[name] for name in expected} == pytest.approx(expected, abs=2e-5)
    assert found.tables["per_class"]["accuracy"][3] is None
