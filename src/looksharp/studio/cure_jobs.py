"""Cures as jobs: the command line that one is, and how far its trainings are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from looksharp.files import read_mapping
from looksharp.settings import SettingError
from looksharp.studio.methods import METHODS
from looksharp.studio.settings import StudioSettings
from looksharp.studio.ticked import Ticked, groups_file
from looksharp.training.history import read_history

__all__ = ["CureChoice", "TrainingProgress", "planned", "progress_of"]


@dataclass(frozen=True)
class CureChoice:
    """A cure as a person chose it.

    Attributes:
        method: one of `METHODS`.
        epochs: of each training.
        compare: train with labels alone on the same batches too.
        ticked: ticked groups.
    """

    method: str
    epochs: int
    compare: bool = False
    ticked: Ticked = field(default_factory=Ticked)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingError(f"method must be one of {', '.join(METHODS)}; got {self.method!r:.60}")
        if not 1 <= self.epochs <= 100_000:
            raise SettingError(f"epochs must be 1 to 100,000; got {self.epochs}")

    @property
    def trainings(self) -> int:
        """Return the number of trainings."""
        return 2 if self.compare else 1


def planned(choice: CureChoice, settings: StudioSettings, folder: Path) -> Callable[[Path], Sequence[str]]:
    """Return what makes the command line of a cure, given its job's folder.

    Marks and groups are copied there first: what is marked while the job waits or is interrupted must not change it, or
    it could not go on.

    Args:
        choice: what a person chose.
        settings: the studio's: the run, and where its images are.
        folder: RUN/studio.
    """

    def plan(job: Path) -> list[str]:
        arguments = ["cure", str(settings.run.absolute()), "--out", str((job / "out").absolute())]
        reads = METHODS[choice.method].reads
        if "marks" in reads:
            arguments += ["--marks", str(_kept(folder / "marks.json", job, "mark some images first"))]
        if "ticks" in reads:
            groups = groups_file(folder, settings.cues)
            arguments += ["--cues", str(_kept(groups, job, "find groups and tick some first"))]
            for name, numbers in (("shortcut", choice.ticked.shortcut), ("object", choice.ticked.object)):
                arguments += [f"--{name}", ",".join(map(str, numbers))] if numbers else []
        arguments += [*METHODS[choice.method].flags, "--epochs", str(choice.epochs)]
        arguments += ["--compare", "labels"] if choice.compare else []
        for name in ("root", "class_map"):
            value = getattr(settings, name)
            arguments += [f"--{name}", str(value.absolute())] if value is not None else []
        arguments += ["--data", settings.data] if settings.data is not None else []
        return [*arguments, "--device", settings.device]

    return plan


def _kept(path: Path, job: Path, mend: str) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no {path}: {mend}")
    return Path(shutil.copyfile(path, job.absolute() / path.name))


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of one training of a job.

    Attributes:
        name: of the training.
        history: a row of values for each of its epochs so far.
        epochs: number of epochs in all.
    """

    name: str
    history: list[dict[str, float]]
    epochs: int


def progress_of(job: Path) -> list[TrainingProgress]:
    """Return how far the trainings of a job are that have begun, the cure first.

    Args:
        job: the job's folder.
    """
    found = []
    for config in sorted(job.glob("out/runs/*/config.yaml"), key=lambda path: (path.parent.name != "cure", path)):
        try:
            epochs = int(read_mapping(config, "a run's settings").get("epochs", 0))
            history = read_history(config.with_name("metrics.csv"))
        except (ValueError, OSError):  # it is being removed, or damaged; the log tells
            continue
        found.append(TrainingProgress(config.parent.name, history, epochs))
    return found
