import re

import pytest
import yaml

from looksharp.reproducing.figure import Measure
from looksharp.reproducing.listing import cost_of, describe, overview
from looksharp.reproducing.reading import RECIPES, read_recipe, recipe_names
from looksharp.reproducing.recipe import merged

BASE = {
    "paper": "P",
    "data": "Any images.",
    "images": 1000,
    "gflops": 2.0,
    "settings": {"data": "digits", "lr": 0.5, "epochs": 4, "milestones": [1, 2]},
    "measure": {"top1": {"value": "top1"}, "error": {"value": "top1", "unit": "error"}},
}
TABLE = {
    "inherits": "p/base",
    "title": "Table 1",
    "settings": {"epochs": 6},
    "rows": {
        "plain": {"label": "Net", "paper": {"top1": 70}},
        "better": {
            "settings": {"objective": "icasc", "icasc": {"mechanism": "grad_cam"}, "lr": 0.25},
            "paper": {"top1": 71.5},
            "over": "plain",
        },
    },
}


def write(folder, **files):
    for name, values in files.items():
        path = folder / "p" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(values if isinstance(values, str) else yaml.safe_dump(values, sort_keys=False))
    return folder


def test_inherits_settings_and_measures_and_overrides_them(tmp_path):
    write(tmp_path, base=BASE, table=TABLE)
    assert recipe_names(tmp_path) == ("p/table",)
    recipe = read_recipe("p/table", tmp_path)
    assert list(recipe.rows) == ["plain", "better"]
    plain, better = recipe.config("plain"), recipe.config("better", seed=3)
    assert (plain.optimization.lr, plain.training.epochs, plain.objective_name) == (0.5, 6, "classification")
    assert (better.optimization.lr, better.training.epochs, better.training.seed) == (0.25, 6, 3)
    assert better.objective[0].settings["mechanism"] == "grad_cam"
    assert recipe.rows["plain"].label == "Net"
    assert recipe.rows["better"].label == "better"
    assert recipe.measure["error"] == Measure("top1", unit="error")


def test_a_grandchild_adds_rows_and_null_removes(tmp_path):
    child = {
        "inherits": "p/table",
        "title": "Table 2",
        "measure": {"error": None},
        "rows": {"better": None, "plain": {"paper": {"top1": 80}}, "third": {"settings": {"lr": 1.0}}},
    }
    write(tmp_path, base=BASE, table=TABLE, child=child)
    recipe = read_recipe("p/child", tmp_path)
    assert list(recipe.rows) == ["plain", "third"]
    assert (recipe.rows["plain"].label, dict(recipe.rows["plain"].paper)) == ("Net", {"top1": 80})
    assert list(recipe.measure) == ["top1"]
    assert recipe.config("third").optimization.lr == 1.0


def test_merging_leaves_both_as_they_were():
    base, over = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4, "c": None}, "e": {"f": 5}}
    assert merged(base, over) == {"a": {"b": 4}, "d": 3, "e": {"f": 5}}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}
    assert over == {"a": {"b": 4, "c": None}, "e": {"f": 5}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inherits": "p/nothing"}, "recipe p/table inherits 'p/nothing', but there is no"),
        ({"inherits": "p/table"}, "recipe p/table inherits in a circle: p/table from p/table"),
        ({"titel": "x"}, "recipe p/table: 'titel' is no part of it; there are paper, title"),
        ({"paper": None}, "recipe p/table lacks paper"),
        ({"measure": {"top1": {"of": "top1"}}}, "recipe p/table, measure top1: 'of' is no part of it"),
        ({"measure": {"top1": {"value": "top1", "suite": "x"}}}, "suite 'x' is not known; there are classification"),
        ({"measure": {"top1": {"value": "top1", "unit": "x"}}}, "unit must be one of percent, error, plain; got 'x'"),
        ({"rows": []}, r"recipe p/table: rows must be a mapping, name: value; got \[\]"),
        ({"rows": {"plain": {"papper": {}}}}, "recipe p/table, row plain: 'papper' is no part of it"),
        ({"rows": {"plain": {"paper": {"top9": 1}}}}, "row plain: paper has 'top9', which is not measured"),
        ({"rows": {"plain": {"paper": {"top1": "70%"}}}}, "the paper's top1 must be a number; got '70%'"),
        ({"rows": {"plain": {"over": "x"}}}, "row plain: over names 'x', which is no row"),
        ({"settings": {"lr": "1e-5"}}, "lr is the text '1e-5'; YAML reads numbers such as 0.001 or 1.0e-3"),
    ],
)
def test_errors_name_the_recipe_and_the_part(tmp_path, change, message):
    write(tmp_path, base=BASE, table=TABLE | change)
    with pytest.raises(ValueError, match=message):
        read_recipe("p/table", tmp_path)


def test_errors_of_files_names_and_rows(tmp_path):
    write(tmp_path, base=BASE, table=TABLE, broken="rows: [1")
    with pytest.raises(ValueError, match=r"broken\.yaml is not YAML: "):
        recipe_names(tmp_path)
    write(tmp_path, broken="- 1")
    with pytest.raises(ValueError, match=r"broken\.yaml must hold a recipe, name: value; got \[1\]"):
        recipe_names(tmp_path)
    (tmp_path / "p" / "broken.yaml").unlink()
    with pytest.raises(ValueError, match=r"recipe 'p/tabel' is not known; did you mean p/table\?"):
        read_recipe("p/tabel", tmp_path)
    with pytest.raises(ValueError, match="recipe 'x' is not known; there are p/table"):
        read_recipe("x", tmp_path)
    recipe = read_recipe("p/table", tmp_path)
    with pytest.raises(ValueError, match="p/table has no row 'worse'; there are plain, better"):
        recipe.config("worse")
    with pytest.raises(ValueError, match="recipe p/table, row plain: 'depth' is not a setting; there are objective"):
        recipe.config("plain", depth=3)


def test_cost_is_three_forwards_an_image_and_epoch(tmp_path):
    write(tmp_path, base=BASE, table=TABLE)
    recipe = read_recipe("p/table", tmp_path)
    operations = 3 * 2e9 * 1000 * (6 + 6)  # both rows
    assert cost_of(recipe) == pytest.approx(operations / 10e12 / 3600)
    assert re.search(r"^p/table +Table 1 +2 +digits +6 +1,000 +0.002$", overview([recipe]), re.MULTILINE)
    text = describe(recipe)
    assert "Data: Any images." in text
    assert "better: better; paper: top1 71.5" in text
    assert "mechanism: grad_cam" in text


@pytest.mark.parametrize("name", recipe_names())
def test_every_row_gives_settings_that_exist_and_survive_a_round_trip(name):
    recipe = read_recipe(name)
    for row in recipe.rows:
        config = recipe.config(row, seed=1)
        assert type(config).from_flat(config.flat()) == config
        assert config.optimization.lr > 0
        assert config.optimization.weight_decay > 0
        assert max(config.optimization.milestones) < config.training.epochs or config.optimization.schedule != "step"
        assert recipe.folder or config.data.data != "digits"
    assert any(row.paper for row in recipe.rows.values())
    assert recipe.title.startswith(recipe.paper)
    assert "--root" in recipe.data or "--data" in recipe.data


def test_every_file_is_a_recipe_or_inherited_from():
    files = {file.relative_to(RECIPES).with_suffix("").as_posix() for file in RECIPES.rglob("*.yaml")}
    parents = {yaml.safe_load(file.read_text()).get("inherits") for file in RECIPES.rglob("*.yaml")}
    assert files - set(recipe_names()) <= parents


def test_what_the_papers_say_of_schedules():
    """ICASC appendix A, GAIN Sec. 4.1, ABN Sec. 4.1 and 4.3, WARN Sec. 4.2 to 4.4."""
    said = {
        "icasc/table4": (160, 128, 0.1, 5e-4, [81, 122]),
        "icasc/table6": (90, 256, 0.1, 1e-4, [30, 60]),
        "icasc/table7": (90, 10, 1e-3, 1e-4, [30, 60]),
        "abn/table1": (300, 256, 0.1, 1e-4, [150, 225]),
        "abn/table2-svhn": (40, 256, 0.1, 1e-4, [20, 30]),
        "abn/table3-model": (50, 32, 0.01, 1e-4, [25, 35]),
        "warn/table2-cifar10": (200, 128, 0.1, 5e-4, [60, 120, 160]),
        "warn/table3-dogs": (100, 64, 1e-3, 5e-4, [30, 60, 90]),
    }
    for name, expected in said.items():
        recipe = read_recipe(name)
        config = recipe.config(next(iter(recipe.rows)))
        optimization, training = config.optimization, config.training
        found = (training.epochs, training.batch_size, optimization.lr, optimization.weight_decay)
        assert (*found, optimization.milestones) == expected, name
        assert optimization.schedule == "step"
    for name, batch in {"icasc/table5": 16, "icasc/table8": 16}.items():
        recipe = read_recipe(name)
        config = recipe.config(next(iter(recipe.rows)))
        assert (config.training.epochs, config.training.batch_size) == (20, batch)
        assert (config.optimization.lr, config.optimization.weight_decay) == (0.01, 1e-3)
        assert config.optimization.schedule == "cosine"
    gain = read_recipe("gain/table4").config("gain")
    assert (gain.training.epochs, gain.training.batch_size, gain.optimization.lr) == (35, 1, 1e-5)
