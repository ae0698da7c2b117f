"""A trial of an experiment: one variant trained with one seed, in a run folder that is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from looksharp.data.split import Data
from looksharp.experiments.record import Record, read_record
from looksharp.files import remove_leftovers
from looksharp.training.differing import differing
from looksharp.training.facts import read_facts
from looksharp.training.folder import Run, load_run, read_config
from looksharp.training.run import train
from looksharp.training.settings import RunConfig

__all__ = ["Trial", "check_trial", "kept_record", "plan", "run_folder", "train_trial"]


@dataclass(frozen=True)
class Trial:
    """One variant, to be trained with one seed.

    Attributes:
        variant: name of the variant.
        config: its settings, the seed among them.
        folder: its run folder.
    """

    variant: str
    config: RunConfig
    folder: Path

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.config.training.seed


def plan(variants: Mapping[str, RunConfig], seeds: Iterable[int], out: Path) -> list[Trial]:
    """Plan a trial of every variant with every seed, in the folder OUT/VARIANT/seed-N.

    Args:
        variants: name -> settings.
        seeds: seeds, each once.
        out: folder of the experiment.
    """
    seeds = tuple(seeds)
    return [
        Trial(name, with_seed(config, seed), run_folder(out, name) / f"seed-{seed}")
        for name, config in variants.items()
        for seed in seeds
    ]


def run_folder(out: Path, variant: str) -> Path:
    """Return a variant's folder below `out`; signs that no folder should have become dashes."""
    return out / re.sub(r"[^\w.,+ -]", "-", variant)


def with_seed(config: RunConfig, seed: int) -> RunConfig:
    """Return the settings with another seed."""
    return replace(config, training=replace(config.training, seed=seed))


def check_trial(trial: Trial) -> None:
    """Refuse a folder that holds a run of other settings; those of the machine (`PLACE`) may differ.

    Raises:
        ValueError: naming the folder and the setting.
    """
    record = read_record(trial.folder)
    if record is not None:
        known = RunConfig.from_flat(record.settings)
    elif (trial.folder / "config.yaml").is_file():
        known = read_config(trial.folder)
    else:
        return
    other = differing(known, trial.config)
    if other is not None:
        was, now = known.flat().get(other), trial.config.flat().get(other)
        raise ValueError(
            f"{trial.folder} holds a run of other settings ({other} {was}, now {now}); "
            "choose another --out, or remove it"
        )


def kept_record(trial: Trial) -> Record | None:
    """Return what was measured of a trial; None if it is not finished.

    Raises:
        ValueError: if its folder holds a run of other settings, or a damaged file.
    """
    check_trial(trial)
    remove_leftovers(trial.folder)  # of a process that was killed when its work was done
    return read_record(trial.folder)


def train_trial(trial: Trial, data: Data, progress: bool = True) -> Run:
    """Train a trial's run, continue it, or read it where it is finished.

    Raises:
        ValueError: if the folder holds a run of other settings; see also `train`.
    """
    check_trial(trial)
    begun = (trial.folder / "config.yaml").is_file()
    if not (begun and (trial.folder / "run.json").is_file() and read_facts(trial.folder).finished):
        train(trial.config, trial.folder, data=data, resume=begun, progress=progress)
    remove_leftovers(trial.folder)
    # Read back also after training, which leaves the network on the CPU.
    return load_run(trial.folder, device=trial.config.training.device)
