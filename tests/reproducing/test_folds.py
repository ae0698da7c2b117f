import json

import numpy as np
import pytest
from PIL import Image

from looksharp import cli
from looksharp.experiments.record import Record, read_records, write_record
from looksharp.reproducing.folds import mean_over_folds
from looksharp.reproducing.measuring import figure_name
from looksharp.reproducing.reading import read_recipe
from looksharp.reproducing.recipe import parse_recipe
from looksharp.reproducing.running import reproduce
from looksharp.reproducing.table import lines_of

HEADER = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score\n"
RECIPE = {
    "paper": "P",
    "title": "P Table 1",
    "data": "--root",
    "images": 16,
    "gflops": 1,
    "settings": {
        "data": "adience_gender", "val_share": 0, "image_size": 16, "augment": "none", "backbone": "small", "epochs": 1,
        "batch_size": 8,
    },
    "measure": {"top1": {"value": "top1"}},
    "rows": {"plain": {"paper": {"top1": 50.0}}},
}  # fmt: skip
CPU = {"device": "cpu", "workers": 0, "progress": False, "report": lambda line: None}


@pytest.fixture
def adience(tmp_path):
    """Four faces a fold."""
    home = tmp_path / "Adience"
    for fold in range(5):
        lines = []
        for place, gender in enumerate("fmfm"):
            path = home / "aligned" / f"{fold}@N00" / f"landmark_aligned_face.7.p{place}_o.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(10 * fold + place).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            user = f"{fold}@N00\tp{place}_o.jpg"
            lines.append(f"{user}\t7\t(25, 32)\t{gender}\t0\t0\t816\t816\t115\t30\t17\n")
        (home / f"fold_{fold}_data.txt").write_text(HEADER + "".join(lines))
    return home


def test_each_fold_is_tested_on_once_and_the_table_is_of_their_mean(tmp_path, adience):
    recipe = parse_recipe("p/table", RECIPE)
    one = reproduce(recipe, tmp_path / "out", root=adience, fold=3, **CPU)
    assert one == tmp_path / "out" / "p" / "table" / "folds" / "fold-3"
    kept = (one / "plain" / "seed-0" / "measured.json").stat().st_mtime_ns
    home = reproduce(recipe, tmp_path / "out", root=adience, fold="all", **CPU)
    assert home == tmp_path / "out" / "p" / "table" / "folds"
    assert (one / "plain" / "seed-0" / "measured.json").stat().st_mtime_ns == kept
    found = []
    for fold in range(5):
        (record,) = read_records(home / f"fold-{fold}")
        assert record.settings["adience_gender"]["fold"] == fold
        found.append(record.values[figure_name("top1", "last")])
        assert f"| {found[-1]:.2f}" in (home / f"fold-{fold}" / "results.md").read_text()
    (line,) = json.loads((home / "results.json").read_text())["lines"]
    assert line["ours"] == pytest.approx(sum(found) / 5)
    assert line["difference"] == pytest.approx(sum(found) / 5 - 50)
    (run,) = json.loads((home / "results.json").read_text())["runs"]
    assert run["settings"]["adience_gender"]["fold"] == "all"
    assert run["images"] == 80


def record_of(row, seed, fold, value, **values):
    name = figure_name("accuracy", "last")
    settings = {"data": "adience_age", "adience_age": {"fold": fold}}
    return Record(row, seed, {name: value, "parameters": 10.0} | values, settings, "adience_age", 16, commit="abc")


def test_gains_are_of_means_and_a_missing_fold_leaves_the_row_out(tmp_path):
    recipe = read_recipe("warn/table3-age")
    for fold in range(5):
        folder = tmp_path / "folds" / f"fold-{fold}"
        write_record(folder / "wrn" / "seed-0", record_of("wrn", 0, fold, 50.0 + fold, parameters=1e6))
        write_record(folder / "warn" / "seed-0", record_of("warn", 0, fold, 54.0 + 2 * fold, parameters=3e6))
        if fold != 2:
            write_record(folder / "wrn" / "seed-1", record_of("wrn", 1, fold, 90.0))
    means = mean_over_folds(tmp_path)
    assert [(each.variant, each.seed) for each in means] == [("warn", 0), ("wrn", 0)]
    lines = {(line.row, line.metric): line for line in lines_of(recipe, means)}
    assert lines["wrn", "accuracy"].ours == pytest.approx(52.0)
    assert lines["warn", "accuracy"].ours == pytest.approx(58.0)
    assert lines["warn", "accuracy"].difference == pytest.approx(58.0 - 59.7)


def test_a_set_without_folds_is_refused_before_anything_is_read(tmp_path, capsys):
    for words in (["icasc/table4"], ["warn/table3-age", "--data", str(tmp_path)]):
        assert cli.main(["reproduce", *words, "--fold", "all", "--out", str(tmp_path / "out")]) == 2
        assert "fold is for data sets that are divided into folds; " in capsys.readouterr().err
    assert cli.main(["reproduce", "warn/table3-age", "--fold", "5"]) == 2
    assert "fold must be " in capsys.readouterr().err
