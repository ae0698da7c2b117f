"""Measure run folders on their test splits, and keep the results there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Never, Unpack

from tqdm import tqdm

from looksharp.attention.finite import check_weights
from looksharp.attention.mechanisms import Mechanism, check_asked, mechanism_name
from looksharp.data.build import build_data
from looksharp.data.split import Data
from looksharp.evaluation.evaluate import Batching, check_layers, measure_suites
from looksharp.evaluation.fingerprint import file_fingerprint, split_fingerprint
from looksharp.evaluation.result import Evaluation, merge, read_evaluation, write_evaluation
from looksharp.evaluation.subject import Subject
from looksharp.evaluation.suite import SUITES, Separate, check_suites, forwards
from looksharp.processes.gathering import agreed
from looksharp.processes.place import is_first
from looksharp.training.data import fitted_data
from looksharp.training.folder import Run, load_run

__all__ = ["evaluate_run"]


class Reading(Batching, total=False):
    """Options of how images are read, which change no result."""

    device: str


def evaluate_run(
    run_path: str | Path | Run,
    *,
    data: Data | None = None,
    checkpoint: str = "last",
    suites: Sequence[str] = ("classification", "attention"),
    mechanism: str | Mechanism = "grad_cam",
    layers: Sequence[str] | None = None,
    crf: bool = True,
    progress: bool | tqdm[Never] = True,
    refresh: bool = False,
    **reading: Unpack[Reading],
) -> dict[str, Evaluation]:
    """Measure a run on every test split of its data, or of other data.

    Results are kept in RUN/evaluation, a pair of files per suite and split. They are read from there when the same is
    asked again: the same weights, images, masks, groups, mechanism, layers and CRF, by the same version.

    Args:
        run_path: the run folder, or a run already loaded from this checkpoint.
        data: the data set, if already built or another one; else the run's own is built.
        checkpoint: "last" or "best".
        suites: see `evaluate`.
        mechanism: mechanism that makes the maps. Results of a function that is not in `MECHANISMS` are not kept.
        layers: (inner, last); found in the network if not given.
        crf: also measure a segmentation's masks once a CRF has sharpened them.
        progress: show a progress bar; or a bar to advance, whose total already counts this run (see `forwards`).
        refresh: measure again, even where results are kept.
        reading: device where the network runs ("auto"), batch_size (64 images a forward), and workers (2 processes
            that read image files).

    Returns:
        Split -> its evaluation.

    Raises:
        ValueError: if the run cannot be read, the data has other classes, or weights are not finite; see also
            `evaluate`.
    """
    suites, layers = check_suites(suites), check_layers(layers)
    check_asked(mechanism, layers=layers is not None)
    run = run_path if isinstance(run_path, Run) else load_run(run_path, checkpoint, reading.get("device", "auto"))
    data = data or build_data(run.config.data, run.config.training.seed)
    data = fitted_data(data, run.classes)
    _check_network(run, checkpoint)
    weights = "" if run.path is None else file_fingerprint(run.path / "checkpoints" / f"{checkpoint}.ckpt")
    files: dict[str, dict[str, Path | None]] = {}
    known: dict[str, dict[str, Evaluation]] = {}
    for name, split in data.tests.items():
        facts = [version("looksharp"), weights, name, split_fingerprint(split, run.pixels)]
        stem = "-".join([checkpoint, re.sub(r"[^\w.-]", "_", name)])
        files[name] = {suite: _file(run.path, stem, suite, facts, mechanism, layers, crf) for suite in suites}
        known[name] = agreed({} if refresh else _read(files[name]))
    missing = {name: [suite for suite in suites if suite not in known[name]] for name in known}
    size = reading.get("batch_size", 64), reading.get("workers", 2)
    bar = _bar(progress, run, data, suites, missing)
    try:
        for name, split in data.tests.items():
            subject = Subject(run.model, split, run.pixels, mechanism, layers, *size, run.classes, crf)
            for suite, found in measure_suites(subject, missing[name], bar.update).items():
                known[name][suite] = found
                _keep(files[name][suite], found)
    finally:
        if bar is not progress:
            bar.close()
    return {name: merge(found[suite] for suite in suites) for name, found in known.items()}


def _check_network(run: Run, checkpoint: str) -> None:
    """Refuse a run whose weights are not finite before anything that was kept of it is read."""
    try:
        check_weights(run.model)
    except ValueError as error:
        where = "" if run.path is None else f"{run.path}, checkpoint {checkpoint}: "
        raise ValueError(f"{where}{error}") from None


def _bar(
    progress: bool | tqdm[Never], run: Run, data: Data, suites: Sequence[str], missing: dict[str, list[str]]
) -> tqdm[Never]:
    """Return the bar given, its total reduced by what is known already; or a new one."""
    ahead = sum(len(split) * forwards(missing[name]) for name, split in data.tests.items())
    if isinstance(progress, bool):
        return tqdm(
            total=ahead,
            desc=None if run.path is None else run.path.name,
            unit=" forwards",
            unit_scale=True,
            disable=not progress or not is_first(),
            leave=False,
        )
    if progress.total is not None:
        progress.total += ahead - sum(len(split) * forwards(suites) for split in data.tests.values())
    return progress


def _file(
    folder: Path | None,
    stem: str,
    suite: str,
    facts: Sequence[str],
    mechanism: str | Mechanism,
    layers: tuple[str, str] | None,
    crf: bool,
) -> Path | None:
    """Return the file of a suite's evaluation; None if the run has no folder, or the mechanism no name."""
    name = mechanism_name(mechanism)
    measured = SUITES[suite]
    reads_maps = measured.reads_maps
    plain = not crf and isinstance(measured, Separate) and measured.sharpens
    if folder is None or (reads_maps and name is None):
        return None
    key = json.dumps([*facts, suite, [[name], layers] if reads_maps else [], *(["no CRF"] if plain else [])])
    return folder / "evaluation" / f"{stem}-{suite}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _read(files: dict[str, Path | None]) -> dict[str, Evaluation]:
    """Read the suites that are kept; one whose files cannot be read is measured again."""
    found = {}
    for suite, path in files.items():
        if path is not None:
            with suppress(ValueError, OSError):
                found[suite] = read_evaluation(path)
    return found


def _keep(path: Path | None, evaluation: Evaluation) -> None:
    if path is not None and is_first():
        with suppress(OSError):  # a run that cannot be written to is measured anew each time
            write_evaluation(path, evaluation)
