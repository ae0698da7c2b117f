"""Train and measure every trial of an experiment; what is finished is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from looksharp.data.split import Data
from looksharp.experiments.provenance import commit, hardware
from looksharp.experiments.record import Record, Values, write_record
from looksharp.experiments.trial import Trial, kept_record, train_trial
from looksharp.training.folder import Run
from looksharp.training.module import NonFiniteLossError

__all__ = ["conduct"]


def conduct(
    trials: Sequence[Trial],
    data: Callable[[Trial], Data],
    measure: Callable[[Trial, Run, Data], Values],
    *,
    train: Callable[[Trial, Data, bool], Run] = train_trial,
    report: Callable[[Trial, bool], object] | None = None,
    record_diverged: bool = False,
    progress: bool = True,
) -> Iterator[Record]:
    """Yield what was measured of every trial, in order, as soon as it is known.

    A trial's run and record are kept in its folder and read from there the next time; an interrupted run goes on
    from its last whole epoch.

    Args:
        trials: what to train.
        data: returns the data set of a trial; asked only for what is not finished.
        measure: returns the values of a trained run; those that are not finite are left out.
        train: makes a trial's run.
        report: is told of every trial, before it is trained, and whether it is kept from an earlier time.
        record_diverged: keep a record, without values, of a training whose loss stops being finite, and go on.
        progress: show progress bars.

    Raises:
        ValueError: before anything is trained, if a folder holds a run of other settings.
        NonFiniteLossError: if a loss stops being finite, unless that is recorded.
    """
    kept = [kept_record(trial) for trial in trials]
    for trial, record in zip(trials, kept, strict=True):
        if report is not None:
            report(trial, record is not None)
        yield _conducted(trial, data(trial), measure, train, record_diverged, progress) if record is None else record


def _conducted(
    trial: Trial,
    data: Data,
    measure: Callable[[Trial, Run, Data], Values],
    train: Callable[[Trial, Data, bool], Run],
    record_diverged: bool,
    progress: bool,
) -> Record:
    training = trial.config.training
    record = Record(
        trial.variant,
        trial.seed,
        {},
        trial.config.flat(),
        data.name,
        len(data.splits["train"]),
        commit=commit(),
        hardware=hardware(training.device, training.precision),
    )
    try:
        run = train(trial, data, progress)
    except NonFiniteLossError as error:
        if not record_diverged:
            raise
        record = replace(record, diverged=str(error))
    else:
        values = {name: value for name, value in measure(trial, run, data).items() if math.isfinite(value)}
        record = replace(record, values=values, epochs=len(run.history), seconds=run.seconds)
    write_record(trial.folder, record)
    return record
