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

    Lightning writes into the system's temporary folder and moves the file from there. On another file system moving is
    copying, and a copy that is killed leaves a part.
    """

    def save_checkpoint(self, checkpoint: dict[str, object], path: str | Path, storage_options: object = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: if the disk is full, or the folder cannot be written.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)  # not to the disk: where it is full, torch may end the process
        with replacing(Path(path)) as temporary:
            try:
                temporary.write_bytes(buffer.getbuffer())
            except OSError as error:
                raise OSError(f"checkpoint {path} cannot be written: {error.strerror}") from None
