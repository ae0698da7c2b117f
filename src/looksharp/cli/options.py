"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

__all__ = ["add_model_arguments", "add_run_argument"]


def add_run_argument(parser: ArgumentParser) -> None:
    """The run folder that a command reads."""
    parser.add_argument("run", type=Path, help="Run folder.")


def add_model_arguments(parser: ArgumentParser, mechanism: str | None = "grad_cam") -> None:
    """How a run is read, and its maps made, by `mechanism` unless another is chosen."""
    parser.add_argument("--checkpoint", type=Literal["last", "best"], default="last", help="Which weights.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps.")
    own = "" if mechanism else " built_in shows the network's own attention, and is taken where it has one."
    parser.add_argument("--mechanism", type=str | None, default=mechanism, help=f"How attention maps are made.{own}")
