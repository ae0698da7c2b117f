"""Trainings as run folders that are kept: what is finished is read, what was interrupted goes on."""

from __future__ import annotations

from pathlib import Path

from looksharp.data.split import Data
from looksharp.training.facts import read_facts
from looksharp.training.folder import Run, load_run, read_config
from looksharp.training.run import train
from looksharp.training.settings import RunConfig, differing

__all__ = ["run_or_read"]


def run_or_read(config: RunConfig, path: Path, data: Data, progress: bool) -> Run:
    """The run of these settings in that folder: trained, continued, or read where it is finished.

    Raises:
        ValueError: if the folder holds a run of other settings.
    """
    begun = (path / "config.yaml").is_file()
    if begun:
        known = read_config(path)
        other = differing(known, config)
        if other is not None:
            was, now = known.flat().get(other), config.flat().get(other)
            raise ValueError(
                f"{path} holds a run of other settings ({other} {was}, now {now}); choose another --out, or remove it"
            )
    if not (begun and (path / "run.json").is_file() and read_facts(path).finished):
        train(config, path, data=data, resume=begun, progress=progress)
    # Read back also after training, which leaves the network on the CPU.
    return load_run(path, device=config.training.device)
