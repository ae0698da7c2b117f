"""Write an adopted model as a run folder, which every command reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import yaml

from looksharp.files import locked, write_text
from looksharp.training.checkpoints import WholeCheckpoints
from looksharp.training.facts import RunFacts, write_facts
from looksharp.training.folder import Run
from looksharp.training.state import save_weights

__all__ = ["check_free", "write_run"]


def check_free(out: Path) -> None:
    """Refuse a folder that holds a run.

    Raises:
        ValueError: if it does.
    """
    if (out / "config.yaml").is_file():
        raise ValueError(f"{out} already holds a run; choose another --out, or remove it")


def write_run(run: Run, facts: RunFacts, out: Path) -> None:
    """Write the files of a run: config.yaml, run.json, checkpoints last and best, which are one, and model.safetensors.

    Raises:
        ValueError: if the folder holds a run, or another process writes it.
        OSError: if the disk is full, or the folder cannot be written.
    """
    with locked(out):
        check_free(out)
        last, best = (out / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
        state = {f"model.{name}": value for name, value in run.model.state_dict().items()}
        WholeCheckpoints().save_checkpoint({"state_dict": state}, last)
        best.unlink(missing_ok=True)
        try:
            os.link(last, best)
        except OSError:  # a file system without links
            shutil.copyfile(last, best)
        save_weights(out / "model.safetensors", run.model, run.config.network.backbone)
        write_facts(out, facts)
        write_text(out / "config.yaml", yaml.safe_dump(run.config.flat(), sort_keys=False))
