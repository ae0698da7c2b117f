"""Checkpoints that are whole or not there."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from looksharp.files import replacing

__all__ = ["WholeCheckpoints"]


class WholeCheckpoints(TorchCheckpointIO):
    """Write a checkpoint beside its target and move it there; until then the previous one stays.

    Lightning writes into the system's temporary folder and moves the file from there. Across file systems a
    move is a copy, and a killed copy leaves a part.
    """

    def save_checkpoint(self, checkpoint: dict[str, object], path: str | Path, storage_options: object = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: if the disk is full, or the folder cannot be written.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)  # in memory first: torch may end the process where the disk is full
        with replacing(Path(path)) as temporary:
            try:
                temporary.write_bytes(buffer.getbuffer())
            except OSError as error:
                raise OSError(f"checkpoint {path} cannot be written: {error.strerror}") from None
