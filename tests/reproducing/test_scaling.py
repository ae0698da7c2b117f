import pytest

from looksharp.data.marked import choose_marked
from looksharp.data.sets.synthetic import digits
from looksharp.reproducing.scaling import scaled_config, scaled_data
from looksharp.training.settings import RunConfig

DATA = digits(train=200, val=20, test=60)


def config(**settings):
    return RunConfig.from_flat({"epochs": 160, "milestones": [81, 122], "batch_size": 8} | settings)


@pytest.mark.parametrize(
    ("scale", "epochs", "milestones"), [(0.1, 16, [8, 12]), (0.001, 1, [1, 1]), (1, 160, [81, 122])]
)
def test_epochs_and_milestones_shrink_together(scale, epochs, milestones):
    found = scaled_config(config(), scale)
    assert (found.training.epochs, found.optimization.milestones) == (epochs, milestones)


def test_every_split_keeps_its_share_and_at_least_two_batches():
    sizes = {name: len(split) for name, split in scaled_data(DATA, config(), 0.5).splits.items()}
    assert sizes == {"train": 100, "val": 16, "test": 30}
    sizes = {name: len(split) for name, split in scaled_data(DATA, config(), 0.01).splits.items()}
    assert sizes == dict.fromkeys(("train", "val", "test"), 16)
    sizes = {name: len(split) for name, split in scaled_data(DATA, config(batch_size=50), 0.01).splits.items()}
    assert sizes == {"train": 100, "val": 20, "test": 60}
    assert scaled_data(DATA, config(), 1) is DATA


def test_images_that_guide_are_kept():
    guided = config(marks="data", marked=30)
    small = scaled_data(DATA, guided, 0.01)
    assert len(small.splits["train"]) == 30
    chosen = choose_marked(DATA, guided.marks, 0).splits["train"]
    found = choose_marked(small, guided.marks, 0).splits["train"]
    assert len(found.marks.images) == 30
    assert sorted(found.targets.tolist()) == sorted(chosen.targets[chosen.marks.images].tolist())
