"""Adience: faces from photo albums, with a gender and one of eight age groups (Eidinger et al. 2014).

From https://talhassner.github.io/home/projects/Adience/Adience-data.html: the five tables and `aligned.tar.gz` or
`faces.tar.gz`, unpacked beside each other:

    fold_0_data.txt ... fold_4_data.txt               tab-separated, a face a line
    aligned/USER/landmark_aligned_face.FACE.IMAGE     or
    faces/USER/coarse_tilt_aligned_face.FACE.IMAGE

No person is in two folds. WARN (sec. 4.1) reports the mean over the five, each tested on once.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

from looksharp.data.dividing import Fold, check_fold
from looksharp.data.listed import Listed, check_files, find_home, listed_data
from looksharp.data.registry import data_set
from looksharp.data.split import Data

__all__ = ["AGES", "read_adience"]

AGES = ("(0, 2)", "(4, 6)", "(8, 12)", "(15, 20)", "(25, 32)", "(38, 43)", "(48, 53)", "(60, 100)")
"""The eight age groups, as the tables write them."""
_BOUNDS = [tuple(int(year) for year in group.strip("()").split(", ")) for group in AGES]
_OTHER_WORDS = {"(8, 13)": 2, "(27, 32)": 4, "(38, 42)": 5, "(38, 48)": 5}
"""Ranges that mean a group; (8, 23) lies across two."""
_GENDERS = ("f", "m")
_COLUMNS = ("user_id", "original_image", "face_id", "age", "gender")


@data_set("adience_gender", task="gender")
@data_set("adience_age", task="age")
def read_adience(root: Path, task: Literal["gender", "age"] = "gender", fold: Fold = 0) -> Data:
    """Read the faces: one fold to test on, the other four to train on; images of a person are held out together.

    A single year of age counts for the group that includes it, and the few odd ranges for the group they mean. Faces
    of no group (35, which lies between two; None) or gender (u, or nothing) are left out and counted in `notes`.

    Args:
        root: the folder that holds the tables, or the folder Adience or AdienceBenchmarkGenderAndAgeClassification
            above them.
        task: "gender" or "age".
        fold: fold that is tested on, 0 to 4; the others are trained on.

    Raises:
        ValueError: if a table or an image is missing, a line lacks a column, or a class has no image.
    """
    check_fold(fold)
    below = ("Adience", "adience", "AdienceBenchmarkGenderAndAgeClassification")
    home = find_home(f"adience_{task}", root, below, "fold_0_data.txt")
    folder, stem = _images(home)
    notes: Counter[str] = Counter()
    files: dict[str, Listed] = {"train": [], "test": []}
    people: list[str] = []
    for number in range(5):
        table = home / f"fold_{number}_data.txt"
        found = []
        for row in _rows(table):
            label = _age(row["age"]) if task == "age" else _gender(row["gender"])
            if label is None:
                notes[f"{task} {row[task] or 'not given'!r} is of no class"] += 1
                continue
            user = row["user_id"]
            found.append((f"{folder}/{user}/{stem}.{row['face_id']}.{row['original_image']}", label))
            people += [user] if number != fold else []
        check_files(home, (path for path, _ in found), table.name)
        files["test" if number == fold else "train"] += found
    classes = AGES if task == "age" else ("female", "male")
    data = listed_data(home, classes, files, notes=notes)
    return replace(data, splits=data.splits | {"train": replace(data.splits["train"], owners=people)})


def _images(home: Path) -> tuple[str, str]:
    """Return the folder and first part of the names of the face images."""
    for folder, stem in (("aligned", "landmark_aligned_face"), ("faces", "coarse_tilt_aligned_face")):
        if (home / folder).is_dir():
            return folder, stem
    raise ValueError(f"{home} has neither of the folders aligned and faces; unpack aligned.tar.gz there")


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        raise ValueError(f"{table} does not exist; Adience has five, fold_0_data.txt to fold_4_data.txt")
    try:
        with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except csv.Error as error:
        raise ValueError(f"{table} cannot be read as a table: {error}") from None
    for number, row in enumerate(rows, 2):
        missing = next((name for name in _COLUMNS if row.get(name) is None), None)
        if missing is not None:
            raise ValueError(f"{table}, line {number} has no {missing}; expected the tab-separated columns {_COLUMNS}")
    if not rows:
        raise ValueError(f"{table} lists no face")
    return rows


def _age(text: str) -> int | None:
    if text in AGES:
        return AGES.index(text)
    if text.isdecimal():
        return next((n for n, (low, high) in enumerate(_BOUNDS) if low <= int(text) <= high), None)
    return _OTHER_WORDS.get(text)


def _gender(text: str) -> int | None:
    return _GENDERS.index(text) if text in _GENDERS else None
