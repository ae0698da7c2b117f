"""The share of the evidence that lies on a cue, for the training images in which groups of suspects found a piece."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from looksharp.studio.ticked import Ticked

if TYPE_CHECKING:
    from torch import Tensor

    from looksharp.data.split import Data
    from looksharp.suspects.groups import Groups
    from looksharp.training.folder import Run

__all__ = ["CueShares", "Shares"]

_BATCH = 32


@dataclass(eq=False)
class Shares:
    """Shares of evidence, as far as they are known.

    Attributes:
        values: (N,) in [0, 1]; NaN for images without a piece, and where it is not known yet.
        known: number of pieces that have been measured.
        pieces: number of pieces in all.
        error: why no more will be, in one line; "" if all is well.
    """

    values: npt.NDArray[np.float32]
    known: int = 0
    pieces: int = 0
    error: str = ""


@dataclass
class CueShares:
    """Shares for each state of groups and ticks; each is measured once.

    Attributes:
        compute: calls a function that runs the network, in its turn.
    """

    compute: Callable[..., Any]
    _known: dict[object, Shares] = field(default_factory=dict)

    def of(self, run: Run, data: Data, path: Path, ticked: Ticked) -> Shares:
        """Return the shares for the training images, which fill up from now on, beside whoever asks.

        A cue is the pieces of the groups that are ticked as a shortcut; if none is, of all that are not ticked as the
        object. The evidence is the Grad-CAM map of the piece's class, and its share that of
        `looksharp.metrics.localisation.attention_inside`.

        Args:
            run: the network.
            data: its images.
            path: groups.json.
            ticked: what is ticked.

        Raises:
            OSError: if there is no such file.
        """
        key = (path, path.stat().st_mtime_ns, ticked)
        if key not in self._known:
            self._known[key] = shares = Shares(np.full(len(data.splits["train"]), np.nan, np.float32))
            work = (run, data, path, ticked, shares)
            threading.Thread(target=self._fill, args=work, name="shares of evidence", daemon=True).start()
        return self._known[key]

    def _fill(self, run: Run, data: Data, path: Path, ticked: Ticked, shares: Shares) -> None:
        from looksharp.suspects.groups import read_groups

        try:
            groups, split = read_groups(path), data.splits["train"]
            groups.check(run.model, split, run.pixels)
            pieces = list(_pieces(groups, ticked).items())
            shares.pieces, device = len(pieces), next(run.model.parameters()).device
            parts = [pieces[start : start + _BATCH] for start in range(0, len(pieces), _BATCH)]
            batches = [[image for (image, _), _ in part] for part in parts]
            for part, batch in zip(parts, split.loader(batches, run.pixels, device=device), strict=True):
                labels = [run.classes.index(label) for (_, label), _ in part]
                found = self.compute(_measured, run, batch.image, labels, [mask for _, mask in part])
                for (image, _), share in zip((key for key, _ in part), found, strict=True):
                    shares.values[image] = np.fmax(shares.values[image], share)  # of its classes the most
                shares.known += len(part)
        except Exception as error:  # is shown on the page
            shares.error = " ".join(str(error).split()) or type(error).__name__


def _pieces(groups: Groups, ticked: Ticked) -> dict[tuple[int, str], Tensor]:
    """Return the pieces that make the cue: (image, class) -> (H, W) boolean."""
    found: dict[tuple[int, str], Tensor] = {}
    for group in groups:
        if group.number in ticked.shortcut or (not ticked.shortcut and group.number not in ticked.object):
            for region in group.regions:
                key = (region.image, region.label)
                found[key] = found[key] | region.mask if key in found else region.mask
    return found


def _measured(run: Run, images: Tensor, labels: list[int], masks: list[Tensor]) -> npt.NDArray[np.float32]:
    import torch

    from looksharp.attention.attend import attend
    from looksharp.metrics.localisation import attention_inside

    classes = torch.tensor(labels, device=images.device)
    ((_, maps),) = attend(run.model, images, classes).maps.items()
    found: npt.NDArray[np.float32] = attention_inside(maps[:, 0].cpu(), torch.stack(masks).float()).numpy()
    return found
