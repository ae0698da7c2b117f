import json
import math
import resource

import pytest
import torch

from looksharp.evaluation import Evaluation, read_evaluation, write_evaluation
from looksharp.evaluation.result import merge
from looksharp.evaluation.tables import read_tables


@pytest.fixture
def evaluation():
    return Evaluation(
        {"top1": 0.5, "loss": math.nan},
        {"top1": torch.tensor([1.0, 0.0, torch.nan]), "loss": torch.arange(6.0)[::2]},  # the last not contiguous
        {"classes": ["cat", "Bär"], "per_class": {"top1": [1.0, None]}},
    )


def test_what_is_written_is_read(evaluation, tmp_path):
    path = tmp_path / "folder" / "last-test.v2"  # a dot that begins no suffix
    write_evaluation(path, evaluation)
    assert {file.name for file in path.parent.iterdir()} == {"last-test.v2.json", "last-test.v2.safetensors"}
    found = read_evaluation(path)
    assert found.values == pytest.approx(evaluation.values, nan_ok=True)
    assert found.tables == evaluation.tables
    assert found.per_image.keys() == evaluation.per_image.keys()
    for name, column in evaluation.per_image.items():
        assert torch.equal(found.per_image[name].nan_to_num(-1), column.nan_to_num(-1))


def test_the_json_is_json(evaluation, tmp_path):
    write_evaluation(tmp_path / "found", evaluation)
    text = (tmp_path / "found.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["values"] == {"top1": 0.5, "loss": None}


def test_nothing_is_an_evaluation(tmp_path):
    write_evaluation(tmp_path / "found", Evaluation())
    found = read_evaluation(tmp_path / "found")
    assert found.values == found.per_image == found.tables == {}


def test_an_interrupted_write_leaves_what_was_there(evaluation, tmp_path):
    path = tmp_path / "found"
    write_evaluation(path, evaluation)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="Out of range"):
        write_evaluation(path, Evaluation(tables={"a": math.nan}))  # no JSON
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_files_that_are_missing_or_damaged(suffix, evaluation, tmp_path):
    path = tmp_path / "found"
    write_evaluation(path, evaluation)
    file = tmp_path / f"found{suffix}"
    for content in (file.read_bytes()[:-9], b"", b"[1]"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"found is damaged: remove its \.json and \.safetensors"):
            read_evaluation(path)
    file.unlink()
    with pytest.raises(ValueError, match=r"there is no evaluation .*found: .* is missing"):
        read_evaluation(path)


def test_merging_joins_columns_and_takes_the_later():
    first = Evaluation({"zeal": 1.0, "loss": 2.0}, {"loss": torch.zeros(1)}, {"a": {"x": [1]}, "b": [1]})
    second = Evaluation({"top1": 3.0, "zeal": 4.0}, {"top1": torch.ones(1)}, {"a": {"y": [2]}, "b": [2]})
    found = merge([first, second])
    assert list(found.values.items()) == [("top1", 3.0), ("loss", 2.0), ("zeal", 4.0)]  # the main ones first
    assert found.per_image.keys() == {"loss", "top1"}
    assert found.tables == {"a": {"x": [1], "y": [2]}, "b": [2]}
    assert first.tables == {"a": {"x": [1]}, "b": [1]}  # left as they were
    assert merge([]).values == {}


def test_a_full_disk_is_one_line_and_leaves_what_was_there(evaluation, tmp_path):
    write_evaluation(tmp_path / "last-test", evaluation)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=r"^\S*last-test\.safetensors cannot be written: .*$"):
            write_evaluation(tmp_path / "last-test", Evaluation({}, {"top1": torch.zeros(10_000)}, {}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.equal(read_evaluation(tmp_path / "last-test").per_image["loss"], torch.tensor([0.0, 2.0, 4.0]))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("table", "content"),
    [
        ("classes", "cat"),
        ("per_class", {"top1": 0.5}),
        ("per_class", [1.0]),
        ("confused_pairs", [{"true": "cat", "taken": "dog", "classes": [0, 1], "count": "2"}]),
        ("interventions", {"intervals": {}, "chance": {}, "left_out": {}, "images": "many"}),
        ("separation_chart", {"probability": [0.0]}),
    ],
)
def test_tables_of_another_form_are_damaged(table, content, tmp_path):
    path = tmp_path / "found"
    write_evaluation(path, Evaluation())
    (tmp_path / "found.json").write_text(json.dumps({"values": {}, "tables": {table: content}}))
    with pytest.raises(ValueError, match="found is damaged"):
        read_evaluation(path)
    with pytest.raises(ValueError, match=f"^{table}"):
        read_tables({table: content})


def test_a_table_of_another_package_is_kept(tmp_path):
    write_evaluation(tmp_path / "found", Evaluation(tables={"hues": {"red": [1, 2]}, "classes": ["cat"]}))
    assert read_evaluation(tmp_path / "found").tables == {"hues": {"red": [1, 2]}, "classes": ["cat"]}
