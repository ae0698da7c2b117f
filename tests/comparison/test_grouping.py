from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from looksharp.comparison.grouping import group_runs
from looksharp.data.build import DataConfig
from looksharp.data.split import Pixels
from looksharp.training.facts import RunFacts, write_facts
from looksharp.training.settings import MarksConfig, NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

PLAIN = RunConfig()
ICASC = RunConfig([{"icasc": {"theta": 0.7}}])


@pytest.fixture
def run(tmp_path):
    """Leave a run folder of some settings."""
    count = 0

    def leave(config, seed=0, name=None):
        nonlocal count
        count += 1
        path = tmp_path / (name or f"run{count}")
        path.mkdir()
        config = replace(config, training=replace(config.training, seed=seed))
        (path / "config.yaml").write_text(yaml.safe_dump(config.flat()))
        write_facts(path, RunFacts(("a", "b"), Pixels((8, 8)), multilabel=False))
        return path

    return leave


def test_runs_of_different_seeds_are_one_method(run):
    paths = [run(PLAIN, 0), run(ICASC, 4), run(PLAIN, 1), run(PLAIN, 2), run(ICASC, 5)]
    plain, icasc = group_runs(paths)
    assert (plain.name, icasc.name) == ("Classification", "ICASC")
    assert plain.runs == (paths[0], paths[2], paths[3])
    assert (plain.seeds, icasc.seeds) == ((0, 1, 2), (4, 5))
    assert plain.differs == {"objective": "classification", "icasc.theta": None}
    assert icasc.differs == {"objective": "icasc", "icasc.theta": 0.7}


def test_neither_paths_nor_devices_make_a_method(run):
    here = replace(PLAIN, data=DataConfig("cifar10", Path("/here")), training=TrainingConfig(device="cpu"))
    there = replace(
        PLAIN, data=DataConfig("cifar10", Path("/there")), training=TrainingConfig(device="cuda", workers=8)
    )
    folder = replace(PLAIN, data=DataConfig("/here/birds"), marks=MarksConfig("/here/boxes.json"))
    moved = replace(PLAIN, data=DataConfig("/there/birds"), marks=MarksConfig("/there/boxes.json"))
    methods = group_runs([run(here, 0), run(there, 1), run(folder, 0), run(moved, 1)])
    assert [method.seeds for method in methods] == [(0, 1), (0, 1)]


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (
            replace(PLAIN, objective="classification+energy", marks=MarksConfig("data")),
            "Classification + energy guidance",
        ),
        (replace(PLAIN, optimization=OptimizationConfig(lr=0.01)), "Classification (lr 0.01)"),
        (replace(PLAIN, network=NetworkConfig("small_deep")), "Classification (backbone small_deep)"),
        (
            replace(PLAIN, objective=[{"classification": {"label_smoothing": 0.1}}]),
            "Classification (label_smoothing 0.1)",
        ),
    ],
)
def test_a_label_tells_what_differs(run, changed, name):
    assert group_runs([run(PLAIN), run(changed)])[1].name == name


def test_a_label_names_three_settings_and_stays_different(run):
    one, two = (
        replace(PLAIN, optimization=OptimizationConfig("adamw", 0.01, 0.5, weight_decay=decay)) for decay in (0.0, 0.1)
    )
    names = [method.name for method in group_runs([run(PLAIN), run(one), run(two)])]
    assert names == [
        "Classification (optimizer sgd, lr 0.1, momentum 0.9, …)",
        "Classification (optimizer adamw, lr 0.01, momentum 0.5, …) 1",
        "Classification (optimizer adamw, lr 0.01, momentum 0.5, …) 2",
    ]


def test_names_in_place_of_labels(run):
    paths = [run(PLAIN), run(ICASC)]
    assert [method.name for method in group_runs(paths, ["plain", "sharp"])] == ["plain", "sharp"]
    for names in (["plain"], ["plain", "plain"], ["a", "b", "c"]):
        with pytest.raises(
            ValueError, match=rf"names must be 2 different ones, for the methods of .*run1, .*run2; got {names[0]}"
        ):
            group_runs(paths, names)


def test_a_run_counts_once(run):
    path = run(PLAIN, 3)
    copy = run(PLAIN, 3)
    for again in (path, copy):
        with pytest.raises(
            ValueError, match=rf"runs .*run1 and .*{again.name} have the same settings and seed 3.*leave one"
        ):
            group_runs([path, run(ICASC, name=f"i{again.name}"), again])


def test_one_method_is_no_comparison(run):
    with pytest.raises(
        ValueError, match="runs must be of two methods or more; these 2 differ in nothing but their seed"
    ):
        group_runs([run(PLAIN, 0), run(PLAIN, 1)])


def test_a_folder_that_is_no_run(run, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"other is not a run folder: it has no config\.yaml"):
        group_runs([run(PLAIN), tmp_path / "other"])


def test_a_segmentation_is_named_after_its_part(run):
    sec = RunConfig("sec", network=NetworkConfig(architecture="large_fov"), marks=MarksConfig("data"))
    assert [method.name for method in group_runs([run(sec), run(PLAIN)])] == ["SEC", "Classification"]
