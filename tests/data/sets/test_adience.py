import re

import numpy as np
import pytest
from PIL import Image

from looksharp.data.build import DataConfig, build_data
from looksharp.data.hold_out import hold_out
from looksharp.data.sets.adience import AGES, read_adience

HEADER = "user_id\toriginal_image\tface_id\tage\tgender\tx\ty\tdx\tdy\ttilt_ang\tfiducial_yaw_angle\tfiducial_score\n"
STEMS = {"aligned": "landmark_aligned_face", "faces": "coarse_tilt_aligned_face"}


class Adience:
    def __init__(self, home, folder="aligned"):
        self.home, self.folder = home, folder
        home.mkdir(parents=True, exist_ok=True)

    def path(self, user, photo, face=7):
        return self.home / self.folder / user / f"{STEMS[self.folder]}.{face}.{photo}_o.jpg"

    def fold(self, number, *faces):
        """Each face: (user, photo, age, gender)."""
        lines = []
        for user, photo, age, gender in faces:
            path = self.path(user, photo)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 40, np.uint8)).save(path)  # greyscale
            lines.append(f"{user}\t{photo}_o.jpg\t7\t{age}\t{gender}\t0\t0\t816\t816\t115\t30\t17\n")
        (self.home / f"fold_{number}_data.txt").write_text(HEADER + "".join(lines))


@pytest.fixture
def adience(tmp_path):
    """Two people a fold, each with a face of every age group and either gender in turn."""
    made = Adience(tmp_path / "Adience")
    for number in range(5):
        made.fold(
            number,
            *((f"{number}{person}@N00", f"p{n}", age, "fm"[n % 2]) for person in "ab" for n, age in enumerate(AGES)),
        )
    return made


def users(split):
    return {path.split("/")[1] for path in split.paths}


def test_the_fold_is_the_test_split(adience):
    for fold in range(5):
        data = hold_out(read_adience(adience.home, "gender", fold), 0.2)
        assert data.classes == ("female", "male")
        assert users(data.splits["test"]) == {f"{fold}a@N00", f"{fold}b@N00"}
        assert len(data.splits["test"]) == 16
        assert data.splits["test"].targets.tolist() == [0, 1] * 8
        train, val = users(data.splits["train"]), users(data.splits["val"])
        assert not train & val  # whole people
        assert len(val) == 2  # the least that make 0.2 of 64 images
        assert train | val == {f"{other}{person}@N00" for other in range(5) if other != fold for person in "ab"}
    assert data.splits["test"].image(0).shape == (3, 8, 8)
    assert data.notes == {}


def test_people_of_validation_are_drawn_by_seed(adience):
    drawn = [
        frozenset(users(hold_out(read_adience(adience.home), 0.1, seed).splits["val"])) for seed in (0, 0, 1, 2, 3)
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def test_without_a_share_validation_reads_the_fold(adience):
    data = hold_out(read_adience(adience.home), 0)
    assert data.splits["val"].paths == data.splits["test"].paths
    assert len(data.splits["train"]) == 64


def test_ages_that_mean_a_group(adience):
    odd = {
        "2": 0, "(8, 13)": 2, "29": 4, "32": 4, "(27, 32)": 4, "42": 5, "(38, 42)": 5, "(38, 48)": 5, "60": 7,
        "35": None, "3": None, "13": None, "(8, 23)": None, "None": None, "": None,
    }  # fmt: skip
    adience.fold(
        0, *(("z@N00", f"p{n}", age, "u") for n, age in enumerate(AGES)),
        *(("z@N00", f"q{n}", age, "") for n, age in enumerate(odd)),
    )  # fmt: skip
    data = hold_out(read_adience(adience.home, "age"))
    assert data.classes == AGES
    assert data.splits["test"].targets.tolist() == [*range(8), *(v for v in odd.values() if v is not None)]
    left_out = {age for age, group in odd.items() if group is None}
    assert data.notes == {f"age {age or 'not given'!r} is of no class": 1 for age in left_out}


def test_genders_that_are_not_known(adience):
    adience.fold(1, ("y@N00", "p", "None", "m"), ("y@N00", "q", "(0, 2)", "u"), ("y@N00", "r", "", ""),
                 ("y@N00", "s", "", "f"))  # fmt: skip
    data = hold_out(read_adience(adience.home, fold=1))
    assert [path[-9:] for path in data.splits["test"].paths] == ["7.p_o.jpg", "7.s_o.jpg"]
    assert data.splits["test"].targets.tolist() == [1, 0]
    assert data.notes == {"gender 'u' is of no class": 1, "gender 'not given' is of no class": 1}


def test_faces_that_are_not_aligned(tmp_path):
    made = Adience(tmp_path, "faces")
    for number in range(5):
        made.fold(number, (f"{number}", "a", "(0, 2)", "m"), (f"{number}", "b", "(0, 2)", "f"))
    data = build_data(DataConfig("adience_gender", tmp_path, image_size=16, settings={"fold": 2}))
    assert data.splits["test"].paths == [f"faces/2/coarse_tilt_aligned_face.7.{name}_o.jpg" for name in "ab"]
    assert data.pixels.size == (16, 16)


def fails(home, message, val_share=0.1, **settings):
    with pytest.raises(ValueError, match=f"^{message.replace('HOME', re.escape(str(home)))}$"):
        hold_out(read_adience(home, **settings), val_share)


def test_broken_layouts(adience, tmp_path):
    home = adience.home
    fails(home, "fold must be 0 to 4, the one that is tested on; got 5", fold=5)
    fails(home, "val_share is 0.99, which holds out 64 of 64 images", val_share=0.99)
    fails(tmp_path / "no", r"adience_gender was not found in root .*: there is no .*fold_0_data\.txt.*")
    adience.path("3a@N00", "p1").unlink()
    adience.path("3b@N00", "p2").unlink()
    fails(home, r"HOME/aligned/3a@N00/landmark_aligned_face\.7\.p1_o\.jpg does not exist, though fold_3_data\.txt "
          "lists it, nor do 1 others")  # fmt: skip
    (home / "fold_2_data.txt").write_text(HEADER)
    fails(home, r"HOME/fold_2_data\.txt lists no face")
    (home / "fold_2_data.txt").write_text(HEADER + "x\ty\n")
    fails(home, r"HOME/fold_2_data\.txt, line 2 has no face_id; expected the tab-separated columns .*")
    (home / "fold_2_data.txt").unlink()
    fails(home, r"HOME/fold_2_data\.txt does not exist; Adience has five, fold_0_data\.txt to fold_4_data\.txt")
    (home / "aligned").rename(home / "other")
    fails(home, r"HOME has neither of the folders aligned and faces; unpack aligned\.tar\.gz there")


def test_an_empty_class_is_named(adience):
    adience.fold(0, ("z", "p", "(0, 2)", "f"))
    fails(adience.home, "class 'male' has no test image in HOME")
    fails(adience.home, r"class '\(4, 6\)' has no test image in HOME, and 6 classes more", task="age")
