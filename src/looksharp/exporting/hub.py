"""Runs in the layouts of the Hugging Face Hub: timm's own for its networks, looksharp's for all others."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from looksharp.attention.recording import unwrapped
from looksharp.data.pixels import Pixels
from looksharp.data.preprocessing.timm_config import timm_pixels
from looksharp.exporting.hub_classifier import HubClassifier
from looksharp.training.folder import Run

__all__ = ["push_run", "write_folder"]


def write_folder(run: Run, folder: Path) -> dict[str, str]:
    """Write a run as a folder that holds config.json and model.safetensors.

    Args:
        run: the run.
        folder: a folder that is empty, or not there.

    Returns:
        Remarks, by topic.

    Raises:
        ValueError: if the folder holds something.
        OSError: if it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; choose another --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}", dir=folder.parent))
    try:
        if _is_timms(run):
            from timm.models import save_for_hf

            save_for_hf(unwrapped(run.model), str(made), safe_serialization=True, **_timm_facts(run))
        else:
            HubClassifier.of(run).save_pretrained(made)
        made.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.replace(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return _said(run, str(folder))


def push_run(run: Run, name: str, *, private: bool = False) -> dict[str, str]:
    """Upload a run to the Hugging Face Hub.

    Args:
        run: the run.
        name: ORG/NAME of the repository, which is made if there is none.
        private: make it a private one.

    Returns:
        Remarks, by topic.

    Raises:
        ValueError: if it cannot be uploaded; the message gives the reason.
    """
    try:
        if _is_timms(run):
            from timm.models import push_to_hf_hub

            model = unwrapped(run.model)
            push_to_hf_hub(model, name, private=private, safe_serialization=True, **_timm_facts(run))
        else:
            HubClassifier.of(run).push_to_hub(name, private=private)
    except Exception as error:  # of the network, the login or the name, each with classes of its own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ValueError(
            f"push to {name} failed: {lines[0]:.200} (it needs network access and a login, `hf auth login`)"
        ) from None
    return {"uploaded": f"https://huggingface.co/{name}"} | _said(run, f"hf-hub:{name}", name)


def _is_timms(run: Run) -> bool:
    """Return True if a run's network is timm's, with nothing around it."""
    import timm

    found = getattr(unwrapped(run.model), "pretrained_cfg", None)
    known = isinstance(found, dict) and timm.is_model(str(found.get("architecture")))
    return known and run.config.network.architecture == "plain"


def _timm_facts(run: Run) -> dict[str, Any]:
    """Return a run's classes and pixels as timm writes them into config.json."""
    return {"model_config": {"label_names": list(run.classes)}, "data_config": _data_config(run.pixels)}


def _data_config(pixels: Pixels) -> dict[str, Any]:
    height, width = pixels.size
    return {
        "input_size": (3, height, width),
        "mean": pixels.mean,
        "std": pixels.std,
        "interpolation": pixels.interpolation.removesuffix("-exact"),
        "crop_pct": height / pixels.resized[0],
        "crop_mode": "squash" if pixels.fit == "resize" else "center",
    }


def _said(run: Run, place: str, name: str | None = None) -> dict[str, str]:
    if not _is_timms(run):
        return {"read by": f"looksharp.HubClassifier.from_pretrained({name or place!r})"}
    timms = timm_pixels(_data_config(run.pixels))
    rules = [(read.fit, read.resized, read.resizer, read.interpolation) for read in (timms, run.pixels)]
    said = {"read by": f"timm.create_model({(place if name else f'local-dir:{place}')!r}, pretrained=True)"}
    if rules[0] != rules[1]:
        said["pixels"] = "timm resizes image files by PIL and rounds otherwise than this run did: a level or two of 255"
    return said
