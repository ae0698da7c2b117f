"""Groups that a person ticked on the sheet of suspects, as a shortcut or as the object: check them and keep them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from looksharp.curing.reaching import Reached, reach
from looksharp.curing.refusing import refusals
from looksharp.data.split import Data
from looksharp.data.ticked import TickedRegion, ticks_text
from looksharp.files import read_text, write_text
from looksharp.propagation.propagate import FEWEST
from looksharp.settings import SettingError
from looksharp.suspects.groups import Groups, read_groups
from looksharp.training.folder import Run
from looksharp.training.settings import MarksConfig

if TYPE_CHECKING:
    from looksharp.suspects.groups import Group

__all__ = ["Ticks", "choose_ticks", "ticked_numbers"]

ALL = "all"
"""Every group of the file, but those that are ticked as the object."""

_LEFT = 0.01  # smallest share of the images without a ticked piece for which others are looked for
_REACHED = 0  # the number in OUT/cues.json of the pieces that were found in other images


@dataclass(frozen=True)
class Ticks:
    """Ticked groups that training uses.

    Attributes:
        path: OUT/cues.json, which keeps their regions.
        shortcut: numbers of groups that are a shortcut, in the file's order.
        object: numbers of groups that are the object.
        images: number of training images in groups of a shortcut.
        groups: all groups of the file.
        refused: number of a group that was ticked in vain -> one sentence why.
        reached: what was found in the other training images; None if nothing was looked for.
    """

    path: Path
    shortcut: tuple[int, ...]
    object: tuple[int, ...]
    images: int
    groups: Groups = field(repr=False)
    refused: Mapping[int, str] = field(default_factory=dict)
    reached: Reached | None = None

    @property
    def note(self) -> str:
        """Return what was ticked and what was refused, in sentences."""
        said = [f"Ticked as a shortcut: {_listed(self.shortcut)}, {self.images:,} training images."]
        if self.object:
            said.append(f"Ticked as the object: {_listed(self.object)}.")
        if self.reached is not None:
            said.append(
                f"A small segmenter learnt their regions and found such a piece in {len(self.reached.regions):,} other "
                f"training images; what it finds in images that it had not learnt from overlaps their regions by "
                f"{self.reached.overlap:.2f}."
            )
        said += [f"Group {number} was ticked too and refused: {reason}." for number, reason in self.refused.items()]
        return " ".join(said)

    def settings(self, marks: MarksConfig) -> MarksConfig:
        """Return settings of marks that read these regions too."""
        shortcut = [*self.shortcut, *([_REACHED] if self.reached is not None and self.reached.regions else [])]
        return replace(marks, cues=str(self.path), shortcut=shortcut, object=list(self.object) if self.object else None)


def ticked_numbers(name: str, value: str | Sequence[int] | None) -> tuple[int, ...] | None:
    """Read ticks: numbers of groups, as a list or separated by commas; None for "all".

    Raises:
        SettingError: if it is neither.
    """
    if value == ALL:
        return None
    try:
        numbers = tuple(int(each) for each in (value.split(",") if isinstance(value, str) else value or ()))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise SettingError(f"{name} must be numbers of groups, such as 1,2,5, or all; got {value!r}")
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise SettingError(f"{name} names group {twice} twice")
    return numbers


def choose_ticks(
    cues: Path,
    shortcut: str | Sequence[int] | None,
    objects: str | Sequence[int] | None,
    run: Run,
    data: Data,
    out: Path,
    *,
    propagate: bool | None = None,
    progress: bool = False,
) -> Ticks:
    """Read the groups, refuse those that would do harm, and write the regions of the others to OUT/cues.json.

    Args:
        cues: groups.json of `looksharp suspects`, or its folder.
        shortcut: groups that are a shortcut; see `ticked_numbers`.
        objects: groups that are the object.
        run: the run to cure.
        data: its images.
        out: the cure's folder.
        propagate: find pieces like those of the shortcut in the other training images, see `reach`; where there are
            enough to learn from and images are left, if not given.
        progress: show progress bars.

    Raises:
        ValueError: if the groups are of another run or of other images, a number is none of theirs, a group is ticked
            as both, all are refused, or `out` holds a cure with other ticks.
    """
    groups, train = read_groups(cues), data.splits["train"]
    groups.check(run.model, train, run.pixels)
    known = tuple(group.number for group in groups if group.regions)
    of_object = () if objects is None else ticked_numbers("object", objects) or known
    if shortcut is None:
        of_shortcut: tuple[int, ...] = ()
    else:
        asked = ticked_numbers("shortcut", shortcut)
        of_shortcut = tuple(number for number in known if number not in of_object) if asked is None else asked
    both = next((number for number in of_shortcut if number in of_object), None)
    if both is not None:
        raise ValueError(f"group {both} is ticked as shortcut and as object; leave one out")
    ticked = {number: groups[number] for number in (*of_shortcut, *of_object)}
    refused = refusals(run, data, {number: ticked[number] for number in of_shortcut}) if of_shortcut else {}
    kept = tuple(number for number in known if number in of_shortcut and number not in refused)
    if of_shortcut and not kept:
        reasons = "; ".join(f"group {number}: {reason}" for number, reason in refused.items())
        raise ValueError(f"no ticked group can be used: {reasons}; tick others, or mark images")
    regions = {number: _regions(ticked[number], data.classes) for number in (*kept, *of_object)}
    path, text = out / "cues.json", partial(ticks_text, train, groups.size)
    found = None
    learnt = [each for number in kept for each in regions[number]]
    if propagate is None:
        propagate = train.targets.ndim == 1 and FEWEST <= len(learnt) <= (1 - _LEFT) * len(train)
    if propagate and kept:
        found = _known(path) or reach(run, data, learnt, progress)
    _write(path, text(regions | ({} if found is None else {_REACHED: found.regions})), found)
    images = len({image for number in kept for image in ticked[number].images})
    return Ticks(path, kept, of_object, images, groups, refused, found)


def _regions(group: Group, classes: Sequence[str]) -> list[TickedRegion]:
    numbers = {name: number for number, name in enumerate(classes)}
    return [TickedRegion(each.image, numbers[each.label], each.runs) for each in group.regions]


def _known(path: Path) -> Reached | None:
    """Return the pieces that were found before, so that a cure goes on with the same."""
    kept = path.with_name("reached.json")
    if not (path.is_file() and kept.is_file()):
        return None
    found = json.loads(read_text(path))["groups"].get(str(_REACHED), [])
    return Reached(tuple(TickedRegion(*each) for each in found), float(json.loads(read_text(kept))["overlap"]))


def _write(path: Path, content: str, found: Reached | None) -> None:
    """Write OUT/cues.json, or raise if it exists with other content."""
    if path.is_file() and read_text(path) != content:
        raise ValueError(f"{path.parent} holds a cure with other ticks; choose another --out, or remove it")
    if found is not None:
        write_text(path.with_name("reached.json"), json.dumps({"overlap": found.overlap}) + "\n")
    write_text(path, content)


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"group {numbers[0]}"
    return f"{len(numbers)} groups ({', '.join(map(str, numbers))})" if numbers else "none"
