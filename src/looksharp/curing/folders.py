"""Trainings as run folders that are kept: what is finished is read, what was interrupted goes on."""

from __future__ import annotations

import json
from pathlib import Path

from looksharp.data.split import Data
from looksharp.training.folder import Run, load_run, read_config
from looksharp.training.run import train
from looksharp.training.settings import RunConfig

__all__ = ["run_or_read"]


def run_or_read(config: RunConfig, path: Path, data: Data, progress: bool) -> Run:
    """The run of these settings in that folder: trained, continued, or read where it is finished.

    Raises:
        ValueError: if the folder holds a run of other settings.
    """
    begun = (path / "config.yaml").is_file()
    if begun:
        found, wanted = read_config(path).flat(), config.flat()
        other = next((name for name in {**wanted, **found} if found.get(name) != wanted.get(name)), None)
        if other is not None:
            raise ValueError(
                f"{path} holds a run of other settings ({other} {found.get(other)}, now {wanted.get(other)}); "
                f"choose another --out, or remove it"
            )
    facts = path / "run.json"
    if not (begun and facts.is_file() and "seconds" in json.loads(facts.read_text())):
        train(config, path, data=data, resume=begun, progress=progress)
    # Read back also after training, which leaves the network on the CPU.
    return load_run(path, device=config.training.device)
