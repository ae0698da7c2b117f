import pytest
import torch

from looksharp.networks import AttentionBranchNetwork, build_network
from looksharp.reproducing.panels import TITLES, map_not_applied, panels_of
from looksharp.reproducing.recipe import parse_recipe
from looksharp.reproducing.running import reproduce

RECIPE = {
    "paper": "P",
    "title": "P Fig. 6",
    "data": "--root",
    "images": 16,
    "gflops": 1,
    "settings": {
        "data": "digits", "digits": {"train": 16, "val": 8, "test": 12}, "backbone": "small", "epochs": 1,
        "batch_size": 8,
    },
    "measure": {"top1": {"value": "top1"}},
    "panels": {"alone": "plain", "attended": "abn"},
    "rows": {"plain": {}, "abn": {"settings": {"architecture": "attention_branch"}}},
}  # fmt: skip


@pytest.mark.parametrize("residual", [True, False], ids=["Eq. 2", "Eq. 1"])
def test_the_last_stage_reads_features_as_they_are(residual):
    torch.manual_seed(0)
    network = AttentionBranchNetwork(build_network("small", 10), image_size=32, residual=residual).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        attended = network(images)
        before = network.branch_layer
        with map_not_applied(network):
            found = network(images)
            maps = network.explained(images).maps
        again = network(images)
        backbone = network.backbone
        features = backbone.stage2(backbone.stage1(images))
        last = backbone.stage3.stage(features)  # the perception branch, without its map
        expected = backbone.fc(backbone.avgpool(last).flatten(1))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(again, attended)  # and no hook is left
    assert not torch.allclose(found, attended)
    assert maps.unique().tolist() == [0.0 if residual else 1.0]
    assert network.branch_layer == before


def test_a_network_without_a_branch_is_refused():
    network = build_network("small", 10)
    with pytest.raises(ValueError, match="panels are of an attention branch network; SmallNet has no attention branch"):
        with map_not_applied(network):
            pass


def test_panels_stand_beside_the_table(tmp_path):
    recipe = parse_recipe("p/figure", RECIPE)
    options = {"device": "cpu", "workers": 0, "progress": False, "report": lambda line: None}
    home = reproduce(recipe, tmp_path, rows=["plain"], **options)
    assert not (home / "panels.svg").exists()
    reproduce(recipe, tmp_path, **options)
    drawn = (home / "panels.svg").read_text()
    assert drawn.count('id="axes_') == 3
    assert drawn.count('id="PathCollection') == 3
    from looksharp.training.data import run_data
    from looksharp.training.folder import load_run

    run = load_run(home / "abn" / "seed-0", device="cpu")
    panels = panels_of(home / "plain" / "seed-0", home / "abn" / "seed-0", run_data(run).splits["test"], "cpu")
    assert tuple(panels) == TITLES
    assert all(each.points.shape == (12, 2) for each in panels.values())
    assert not torch.allclose(panels[TITLES[1]].points, panels[TITLES[2]].points)


@pytest.mark.parametrize("panels", [{"alone": "plain"}, {"alone": "plain", "attended": "other"}])
def test_panels_name_two_rows(panels):
    with pytest.raises(ValueError, match="recipe p/figure: panels must name a row alone and one attended, of its rows"):
        parse_recipe("p/figure", RECIPE | {"panels": panels})
