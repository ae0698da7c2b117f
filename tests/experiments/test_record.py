import json

import pytest

from looksharp.experiments.record import RECORD, Record, read_record, read_records, write_record


def test_a_record_is_read_back(tmp_path):
    record = Record("plain", 3, {"top1": 0.5}, {"lr": 0.1, "milestones": [1, 2]}, "digits", 60, 2, 1.5, "abc", "CPU")
    assert read_record(tmp_path) is None
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON|Expecting"),
        ("[]", "settings, name: value"),
        ('{"variant": 1}', "seed is needed"),
        ('{"variant": 1, "seed": 0, "values": {}}', "variant must be text; got 1"),
        ('{"variant": "a", "seed": 0, "values": {"top1": "x"}}', "values must be"),
        ("[" * 100_000, "damaged"),
    ],
)
def test_damage_is_said_in_one_line(tmp_path, text, why):
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(ValueError, match=r"measured\.json is damaged .*: remove it, and the run is measured") as error:
        read_record(tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert why == "damaged" or any(each in str(error.value) for each in why.split("|"))


def test_values_that_are_not_finite_are_never_written(tmp_path):
    with pytest.raises(ValueError, match="values must be"):
        Record("plain", 0, {"top1": float("nan")})


def test_records_come_by_variant_and_seed(tmp_path):
    for variant, seed in (("b", 10), ("b", 2), ("a", 0)):
        write_record(tmp_path / variant / f"seed-{seed}", Record(variant, seed, {"top1": 0.0}))
    (tmp_path / "a" / "seed-1").mkdir()
    assert [(r.variant, r.seed) for r in read_records(tmp_path)] == [("a", 0), ("b", 2), ("b", 10)]
    assert "top1" in json.loads((tmp_path / "a" / "seed-0" / RECORD).read_text())["values"]
