"""Reports of cures that there are for a run."""

from __future__ import annotations

from pathlib import Path

__all__ = ["report_folder", "reports"]


def reports(run: Path) -> dict[str, Path]:
    """Return folders with a report of a cure of this run by their names, the latest first.

    They are RUN-cured and others that begin so, and those of the studio's own trainings.
    """
    run = run.resolve()
    found = [*run.parent.glob(f"{_escaped(run.name)}-cured*/report.html"), *run.glob("studio/jobs/*/*/report.html")]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    folders = [path.parent for path in found]
    return {_name(run, folder): folder for folder in folders}


def report_folder(run: Path, name: str) -> Path:
    """Return the folder of a report by its name.

    Raises:
        ValueError: if there is none.
    """
    found = reports(run).get(name)
    if found is None:
        raise ValueError(f"there is no report {name!r:.100}")
    return found


def _name(run: Path, folder: Path) -> str:
    return folder.name if folder.parent == run.parent else f"training-{folder.parent.name}"


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
