"""Where a cue was planted: data sets say it, and it stays beside its image."""

import numpy as np
import torch
from PIL import Image

from looksharp.data.folder import read_folder
from looksharp.data.sets.synthetic import PALETTE, biased_digits
from looksharp.data.splits.files import keep_in_memory


def test_cues_of_digits_are_the_patches_and_name_their_colours_class():
    for name, split in biased_digits(train=5, val=3, test=6, rho=0.5).splits.items():
        assert split.cues.images == list(range(len(split))), name
        for place in range(len(split)):
            ((label, mask),) = split.cues.of(place)
            assert int(mask.sum()) == 64
            seen = split.images[place][:, mask].T.float() / 255
            torch.testing.assert_close(seen, torch.from_numpy(PALETTE[label]).expand(64, 3), atol=0.003, rtol=0)
            ((_, strokes),) = split.marks.of(place)
            assert not (strokes & mask).any()


def test_cues_stay_with_their_images():
    whole = biased_digits(train=6, val=1, test=1).splits["train"]
    some = whole.taken([4, 1])
    for now, before in enumerate([4, 1]):
        assert torch.equal(some.cues.of(now)[0][1], whole.cues.of(before)[0][1])
        assert torch.equal(some.marks.of(now)[0][1], whole.marks.of(before)[0][1])
    other = whole.taken([4, 1])
    other.cues = None
    assert other.fingerprint() != some.fingerprint()


def test_a_folder_of_cues_is_read_beside_the_masks_and_survives_reading_into_memory(tmp_path):
    for place, name in enumerate(("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png")):
        pixels, mask, cue = np.full((32, 32, 3), 60 * place, np.uint8), np.zeros((2, 32, 32), np.uint8)[0], None
        mask[2:6, 2:6] = 255
        cue = np.zeros((32, 32), np.uint8)
        cue[20 : 22 + place, 20:30] = 255
        for folder, content in (("", pixels), ("masks", mask), ("cues", cue)):
            if folder != "masks" or place != 1:
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(path)
    data = read_folder(tmp_path)
    for found in (data, keep_in_memory(data)):
        train, test = found.splits["train"], found.splits["test"]
        assert (train.marks.images, train.cues.images, test.cues.images) == ([0], [0, 1], [0, 1])
        assert [int(mask.sum()) for _, mask in train.cues.of(1)] == [30]
        assert [int(mask.sum()) for _, mask in test.cues.of(1)] == [50]
        assert [(label, int(mask.sum())) for label, mask in train.marks.of(0)] == [(0, 16)]
    assert data.classes == ("a", "b")  # cues are no class
