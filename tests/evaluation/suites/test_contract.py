"""The contract of every suite: a value for each image, all of them named in the catalogue, the network left alone."""

import json
from copy import deepcopy

import pytest
import torch

from looksharp.evaluation import SUITES, evaluate
from looksharp.evaluation.suite import check_suites, forwards
from looksharp.metrics.catalogue import METRICS


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite(suite, model, split, data):
    before, mode = deepcopy(model.state_dict()), model.training
    few = split.taken(range(12))
    found = evaluate(model, few, data.pixels, suites=[suite])
    assert found.values
    assert found.values.keys() | found.per_image.keys() <= METRICS.keys()
    assert all(value == value and abs(value) != float("inf") for value in found.values.values())
    assert all(column.shape == (12,) and column.dtype == torch.float32 for column in found.per_image.values())
    json.dumps(found.tables, allow_nan=False)
    assert model.training is mode
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("suite", SUITES)
def test_its_cost_is_stated(suite):
    assert SUITES[suite].cost
    assert forwards([suite]) >= 0
    assert check_suites(suite) == (suite,)
