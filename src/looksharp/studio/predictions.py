"""The network's answers to whole splits, found in the background and kept in the run's folder."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from looksharp.files import replacing

if TYPE_CHECKING:
    from looksharp.data.split import Data, Split
    from looksharp.training.folder import Run

__all__ = ["Answers", "Predictor"]

_BATCH = 64
_KEPT_EVERY = 20.0  # seconds


@dataclass(eq=False)
class Answers:
    """Answers of a network to the images of a split, as far as they are known.

    Attributes:
        targets: (N,) the class that each image shows, or (N, classes) boolean where an image may show several.
        answer: (N,) the class that is the likeliest to the network; -1 where it is not known yet.
        loss: (N,) the classification loss.
        confidence: (N,) probability of the answer.
        known: number of images that have been answered, from the first.
        error: why no more will be, in one line; "" if all is well.
    """

    targets: npt.NDArray[np.int64] | npt.NDArray[np.bool_]
    answer: npt.NDArray[np.int64]
    loss: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]
    known: int = 0
    error: str = ""

    def __len__(self) -> int:
        return len(self.answer)

    @property
    def finished(self) -> bool:
        """Return whether every image has been answered."""
        return self.known == len(self)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Return (N,): the answer is a class that the image shows; False where it is not known."""
        if self.targets.ndim == 1:
            return np.equal(self.targets, self.answer)  # never where it is -1
        return self.targets[np.arange(len(self)), self.answer.clip(0)] & (self.answer >= 0)

    def shows(self, label: int) -> npt.NDArray[np.bool_]:
        """Return (N,): the image shows a class."""
        return np.equal(self.targets, label) if self.targets.ndim == 1 else self.targets[:, label].astype(bool)

    def labels(self, place: int) -> list[int]:
        """Return the classes that an image shows."""
        target = self.targets[place]
        return [int(target)] if self.targets.ndim == 1 else np.flatnonzero(target).tolist()

    @property
    def accuracy(self) -> float:
        """Return the share of right answers among those that are known; NaN if none is."""
        return float(self.right.sum() / self.known) if self.known else float("nan")


@dataclass
class Predictor:
    """Answers of a run to splits of its data; each is asked for once.

    Attributes:
        folder: where answers are kept, a file for each split and each state of run and images.
        compute: calls a function that runs the network, in its turn.
    """

    folder: Path
    compute: Callable[..., Any]
    _known: dict[tuple[str, str], Answers] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, run: Run, data: Data, name: str) -> Answers:
        """Return answers of a run to a split, which fill up from now on, beside whoever asks."""
        key = (str(run.path), name)
        with self._lock:
            if key not in self._known:
                split = data.splits[name]
                self._known[key] = _unknown(split)
                work = (run, split, name, self._known[key])
                threading.Thread(target=self._fill, args=work, name=f"answers to {name}", daemon=True).start()
            return self._known[key]

    def _fill(self, run: Run, split: Split, name: str, answers: Answers) -> None:
        try:
            path = self._file(run, split, name)
            _resume(path, answers)
            places = range(answers.known, len(split))
            batches = [list(places[start : start + _BATCH]) for start in range(0, len(places), _BATCH)]
            device, last = next(run.model.parameters()).device, time.monotonic()
            for chosen, batch in zip(batches, split.loader(batches, run.pixels, device=device), strict=True):
                found = self.compute(_answered, run, batch)
                where = slice(chosen[0], chosen[-1] + 1)
                answers.answer[where], answers.loss[where], answers.confidence[where] = found
                answers.known = chosen[-1] + 1
                if answers.finished or time.monotonic() - last > _KEPT_EVERY:
                    _keep(path, answers)
                    last = time.monotonic()
        except Exception as error:  # is shown on the page
            answers.error = " ".join(str(error).split()) or type(error).__name__

    def _file(self, run: Run, split: Split, name: str) -> Path:
        from looksharp.evaluation.fingerprint import model_fingerprint, split_fingerprint

        facts = (version("looksharp"), model_fingerprint(run.model), split_fingerprint(split, run.pixels))
        digest = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]
        stem = re.sub(r"[^\w.-]", "_", name)
        return self.folder / f"{stem}-{digest}.npz"


def _unknown(split: Split) -> Answers:
    """Return no answers yet, beside the classes that the images show."""
    targets, nothing = split.targets.numpy(), np.full(len(split), np.nan, np.float32)
    shown = targets > 0.5 if targets.ndim == 2 else targets
    return Answers(shown, np.full(len(split), -1, np.int64), nothing, nothing.copy())


def _answered(run: Run, batch: Any) -> tuple[npt.NDArray[Any], ...]:
    """Return answer, loss and confidence for the images of a batch."""
    import torch

    from looksharp.attention.finite import check_logits
    from looksharp.attention.recording import logits_of
    from looksharp.objectives.classification import classification_loss

    with torch.no_grad():
        logits = logits_of(run.model(batch.image))
        check_logits(logits)
        odds = logits.sigmoid() if run.multilabel else logits.softmax(1)
        confidence, answer = odds.max(1)
        loss = classification_loss(logits, batch, reduction="none")
    return answer.cpu().numpy(), loss.cpu().numpy(), confidence.cpu().numpy()


def _resume(path: Path, answers: Answers) -> None:
    """Fill in what is kept; what cannot be read is found again."""
    with suppress(OSError, ValueError, KeyError, BadZipFile):
        with np.load(path, allow_pickle=False) as kept:
            found = kept["answer"], kept["loss"], kept["confidence"]
        known = len(found[0])
        if known <= len(answers) and all(len(each) == known for each in found):
            answers.answer[:known], answers.loss[:known], answers.confidence[:known] = found
            answers.known = known


def _keep(path: Path, answers: Answers) -> None:
    with suppress(OSError), replacing(path) as temporary:  # a run that cannot be written to is asked again next time
        values = {name: getattr(answers, name)[: answers.known] for name in ("answer", "loss", "confidence")}
        with temporary.open("wb") as file:
            np.savez(file, **values)
