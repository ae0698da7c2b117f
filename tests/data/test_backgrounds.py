import numpy as np
import pytest
import torch
from PIL import Image

from looksharp.data.backgrounds import read_backgrounds
from looksharp.data.split import Pixels

PIXELS = Pixels((8, 12), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture
def folder(tmp_path):
    """Five photographs, each of one grey, one of them in a folder below; and a text file."""
    (tmp_path / "woods").mkdir()
    for place, name in enumerate(["a.png", "b.jpg", "c.png", "d.png", "woods/e.png"]):
        Image.fromarray(np.full((20, 30, 3), 40 * place, np.uint8)).save(tmp_path / name)
    (tmp_path / "read me.txt").write_text("photographs")
    return tmp_path


def test_all_are_read_as_the_network_reads_images(folder):
    backgrounds = read_backgrounds(folder, PIXELS)
    assert backgrounds.shape == (5, 3, 8, 12)
    greys = (torch.arange(5) * 40 / 255 - 0.5) / 0.25
    torch.testing.assert_close(backgrounds.mean((1, 2, 3)), greys, atol=0.02, rtol=0)


def test_no_more_than_asked_for_drawn_by_seed(folder):
    drawn = {tuple(read_backgrounds(folder, PIXELS, seed, most=2).mean((1, 2, 3)).tolist()) for seed in range(8)}
    assert len(drawn) > 2
    assert all(len(images) == 2 for images in drawn)
    torch.testing.assert_close(read_backgrounds(folder, PIXELS, 3, 2), read_backgrounds(folder, PIXELS, 3, 2))


def test_a_folder_without_photographs(tmp_path):
    with pytest.raises(ValueError, match=r"^backgrounds: .*nothing is not a folder"):
        read_backgrounds(tmp_path / "nothing", PIXELS)
    with pytest.raises(ValueError, match=r"^backgrounds: .* holds no image"):
        read_backgrounds(tmp_path, PIXELS)
