import re

import numpy as np
import pytest
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.sets.waterbirds import read_waterbirds

HEADER = "img_id,img_filename,y,split,place,place_filename\n"
# y, split, place
ROWS = [(0, 0, 0), (0, 0, 1), (1, 0, 1), (1, 0, 0), (0, 1, 0), (1, 1, 1), (1, 2, 0), (0, 2, 1), (0, 2, 0)]


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "waterbird_complete95_forest2water2"
    lines = []
    for number, (y, split, place) in enumerate(ROWS):
        name = f"{number % 3 + 1:03d}.Species_{number % 3}/Bird_{number}.jpg"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 9, 3), 20 * number, np.uint8)).save(folder / name)
        lines.append(f"{number + 1},{name},{y},{split},{place},/b/bamboo_forest/{number}.jpg\n")
    (folder / "metadata.csv").write_text(HEADER + "".join(lines))
    return folder


def test_splits_classes_and_groups(home):
    data = build_data(DataConfig("waterbirds", home.parent, image_size=32))
    assert data.classes == ("landbird", "waterbird")
    assert data.group_names == ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
    assert list(data.splits) == ["train", "val", "test"]
    for number, split in enumerate(data.splits.values()):
        rows = [row for row in ROWS if row[1] == number]
        assert split.targets.tolist() == [y for y, _, _ in rows]
        named = [f"{('landbird', 'waterbird')[y]} on {('land', 'water')[place]}" for y, _, place in rows]
        assert [data.group_names[group] for group in split.groups] == named
    assert data.splits["val"].paths == ["002.Species_1/Bird_4.jpg", "003.Species_2/Bird_5.jpg"]
    assert data.pixels.size == (32, 32)
    (batch,) = data.splits["train"].loader([[2, 0]], data.pixels)
    assert batch.group.tolist() == [3, 0]
    assert batch.image.shape == (2, 3, 32, 32)
    assert read_waterbirds(home).name == str(home)


def test_broken_layouts(home, tmp_path):
    def fails(message):
        with pytest.raises(ValueError, match=f"^{message.replace('HOME', re.escape(str(home)))}$"):
            read_waterbirds(home)

    (home / "001.Species_0" / "Bird_3.jpg").unlink()
    fails(r"HOME/001\.Species_0/Bird_3\.jpg does not exist, though metadata\.csv lists it")
    (home / "metadata.csv").write_text(HEADER + "1,003.Species_2/Bird_2.jpg,1,0,2,x\n")
    fails(r"HOME/metadata\.csv, line 2: place must be 0 or 1; got '2'")
    (home / "metadata.csv").write_text(HEADER + "1,,1,0,1,x\n")
    fails(r"HOME/metadata\.csv, line 2: img_filename must be a path; got ''")
    (home / "metadata.csv").write_text("img_filename,y,place\na.jpg,1,1\n")
    fails(r"HOME/metadata\.csv, line 2: split must be 0 or 1 or 2; got None")
    (home / "metadata.csv").write_text(HEADER + "1,003.Species_2/Bird_2.jpg,1,0,1,x\n")
    fails(r"class 'landbird' has no train image in HOME/metadata\.csv")
    (home / "metadata.csv").unlink()
    fails(r"waterbirds was not found in root HOME: there is no HOME/metadata\.csv or .*/metadata\.csv")
