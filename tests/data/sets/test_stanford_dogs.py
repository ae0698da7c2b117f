import re
import shutil

import numpy as np
import pytest
from scipy.io import savemat

from looksharp.data.hold_out import hold_out
from looksharp.data.sets.stanford_dogs import read_stanford_dogs

SIZE = (9, 12)
BREEDS = ("n02085620-Chihuahua", "n02116738-African_hunting_dog")
DOGS = {
    "train": [(0, "n02085620_5927", [(1, 2, 5, 6)]), (1, "n02116738_2988", [(0, 0, 3, 3), (6, 4, 12, 9)])],
    "test": [(0, "n02085620_2650", [(2, 2, 2, 5), (0, 0, 12, 9)]), (1, "n02116738_6754", [(10, 7, 13, 9)])],
}


def write_list(path, dogs):
    files = [f"{BREEDS[breed]}/{name}.jpg" for breed, name, _ in dogs]
    savemat(
        path,
        {
            "file_list": np.array(files, dtype=object)[:, None],
            "annotation_list": np.array([file.removesuffix(".jpg") for file in files], dtype=object)[:, None],
            "labels": np.array([[breed + 1] for breed, _, _ in dogs], np.uint8),
        },
    )


@pytest.fixture
def root(tmp_path, draw):
    for split, dogs in DOGS.items():
        write_list(tmp_path / f"{split}_list.mat", dogs)
        for breed, name, boxes in dogs:
            draw(tmp_path / "Images" / BREEDS[breed] / f"{name}.jpg", SIZE)
            objects = "".join(
                f"<object><name>{BREEDS[breed].partition('-')[2]}</name><pose>Unspecified</pose><truncated>0</truncated>"
                f"<difficult>0</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>"
                f"<ymax>{bottom}</ymax></bndbox></object>"
                for left, top, right, bottom in boxes
            )
            path = tmp_path / "Annotation" / BREEDS[breed] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                f"<annotation><folder>02085620</folder><filename>%s</filename><size><width>{SIZE[1]}</width>"
                f"<height>{SIZE[0]}</height><depth>3</depth></size><segment>0</segment>{objects}</annotation>"
            )
    return tmp_path


def test_dogs(root):
    data = hold_out(read_stanford_dogs(root), 0)
    assert data.classes == BREEDS
    assert data.notes == {"empty box": 1, "clipped to the image": 1}
    for split, dogs in DOGS.items():
        read = data.splits[split]
        assert read.paths == [f"Images/{BREEDS[breed]}/{name}.jpg" for breed, name, _ in dogs]
        assert read.targets.tolist() == read.marks.labels == [0, 1]
        for place, (_, _, boxes) in enumerate(dogs):
            expected = np.zeros(SIZE, bool)
            for left, top, right, bottom in boxes:
                expected[top:bottom, left:right] = True
            assert np.array_equal(read.marks.masks[place].numpy(), expected)
    assert data.splits["val"].paths == data.splits["test"].paths


def test_lists_in_a_folder_and_no_annotations(root):
    shutil.rmtree(root / "Annotation")
    (root / "lists").mkdir()
    for split in DOGS:
        (root / f"{split}_list.mat").rename(root / "lists" / f"{split}_list.mat")
    data = hold_out(read_stanford_dogs(root), 0).resized(64)
    assert data.splits["train"].marks is None
    assert data.splits["train"].targets.tolist() == [0, 1]
    assert data.pixels.size == (64, 64)


def fails(root, message):
    with pytest.raises(ValueError, match=f"^{message.replace('ROOT', re.escape(str(root)))}$"):
        hold_out(read_stanford_dogs(root))


def test_missing_files_are_named(root):
    annotation = root / "Annotation" / BREEDS[1] / "n02116738_2988"
    annotation.write_text("<annotation><object>")
    fails(root, rf"{re.escape(str(annotation))} must be XML with numbers xmin, ymin, xmax and ymax in every bndbox: .*")
    annotation.write_text("<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>")
    fails(root, rf"{re.escape(str(annotation))} must be XML with numbers xmin, ymin, xmax and ymax in every bndbox: .*")
    annotation.unlink()
    fails(root, rf"{re.escape(str(annotation))} does not exist, though there is an image of that name")
    image = root / "Images" / BREEDS[0] / "n02085620_5927.jpg"
    image.unlink()
    fails(root, rf"{re.escape(str(image))} does not exist, though train_list\.mat lists it")
    (root / "train_list.mat").unlink()
    fails(root, r"ROOT/train_list\.mat does not exist, nor does ROOT/lists/train_list\.mat")
    shutil.rmtree(root / "Images")
    fails(root, r"stanford_dogs was not found in root ROOT: there is no ROOT/Images or .*")


def test_a_breed_without_images_is_named(root):
    write_list(root / "test_list.mat", DOGS["test"][:1])
    fails(root, rf"class '{BREEDS[1]}' has no test image in ROOT")
