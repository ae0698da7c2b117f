"""One opened run: its folder, its images and its network, loaded in the background while the page is there."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from looksharp.files import read_mapping, read_text
from looksharp.studio.cue_shares import CueShares
from looksharp.studio.predictions import Predictor
from looksharp.studio.reports import reports
from looksharp.studio.settings import StudioSettings
from looksharp.studio.thumbnails import Thumbnails

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.training.folder import Run

__all__ = ["Workspace"]

_OTHERS = 50  # runs that are offered

P = ParamSpec("P")
T = TypeVar("T")


class Workspace:
    """Hold what the pages of the studio show and write: a run, its images, and the folder RUN/studio.

    Nothing is loaded until `begin`. `data` and `run` wait for what is loaded; `compute` runs the network, one caller at
    a time; `work` runs anything else beside the page.

    Args:
        settings: the run, and where its images are.

    Attributes:
        settings: as given.
        path: the run folder.
        folder: RUN/studio, where marks, ticks, jobs, predictions and thumbnails are kept.
        classes: class names.
        images: split -> number of images, as the run knows them.
        thumbnails: pictures of the images.
        predictions: the network's answers to whole splits.
        cue_shares: shares of the evidence on a cue.

    Raises:
        ValueError: if the folder is no run, or the run has no images and none are named.
    """

    def __init__(self, settings: StudioSettings) -> None:
        self.settings, self.path = settings, settings.run
        self.folder = self.path / "studio"
        config, facts = _read(self.path)
        if not config.get("data", "digits") and settings.data is None:
            raise ValueError(
                f"data of {self.path} are not known, since the model was adopted without any; name a set or folder by "
                f"--data"
            )
        self.classes = tuple(map(str, facts.get("classes", ())))
        self.images = {str(name): int(count) for name, count in facts.get("images", {}).items()}
        self._data: Future[Data] = Future()
        self._run: Future[Run] = Future()
        self._others: dict[Path, Future[Run]] = {}
        self._begun = threading.Lock()
        self._network = ThreadPoolExecutor(1, "network")
        self._workers = ThreadPoolExecutor(4, "work")
        self.thumbnails = Thumbnails(self.folder / "thumbnails")
        self.cue_shares = CueShares(self.computed)
        self.predictions = Predictor(self.folder / "predictions", self.computed)

    @property
    def title(self) -> str:
        """Return the run's name."""
        return self.path.resolve().name

    @property
    def loaded(self) -> bool:
        """Return whether images and network are there."""
        return all(each.done() and each.exception() is None for each in (self._data, self._run))

    def begin(self) -> None:
        """Start to load the run and its images, once."""
        if self._begun.acquire(blocking=False):
            threading.Thread(target=self._load, name="loading", daemon=True).start()

    async def data(self) -> Data:
        """Wait for the images, as the run reads them.

        Raises:
            ValueError: if they cannot be read; in one line.
        """
        return await _waited(self._data)

    async def run(self) -> Run:
        """Wait for the run and its network.

        Raises:
            ValueError: if it cannot be read; in one line.
        """
        return await _waited(self._run)

    def others(self) -> dict[str, Path]:
        """Return run folders that may be shown beside the run, by name: the one named, cures of it, its neighbours."""
        cures = {f"{name}: cure": folder / "runs" / "cure" for name, folder in reports(self.path).items()}
        here = self.path.resolve()
        named = {} if self.settings.beside is None else {self.settings.beside.name: self.settings.beside}
        near = {path.name: path for path in sorted(here.parent.iterdir()) if path != here}
        found = {name: path for name, path in (named | cures | near).items() if (path / "run.json").is_file()}
        return dict(list(found.items())[:_OTHERS])

    async def other(self, name: str) -> Run:
        """Load a run of `others`, once.

        Raises:
            ValueError: if there is none of that name, or it cannot be read or has other classes.
        """
        run, path = await self.run(), self.others().get(name)
        if path is None:
            raise ValueError(f"there is no run {name!r:.100} to show beside {self.path}")
        if path not in self._others:
            self._others[path] = self._workers.submit(_load_other, path, run, self.settings.device)
        try:
            return await _waited(self._others[path])
        except (ValueError, OSError):
            self._others.pop(path, None)  # it may be whole the next time
            raise

    async def compute(self, function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Call a function that runs the network; calls take turns."""
        return await _waited(self._network.submit(function, *given, **named))

    def computed(self, function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Do what `compute` does, from a thread."""
        return self._network.submit(function, *given, **named).result()

    async def work(self, function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Call a function that reads or writes files beside the page."""
        return await _waited(self._workers.submit(function, *given, **named))

    def close(self) -> None:
        """End what has not begun."""
        for pool in (self._network, self._workers):
            pool.shutdown(wait=False, cancel_futures=True)

    def _load(self) -> None:
        _settle(self._run, self._load_run)
        _settle(self._data, self._read)

    def _load_run(self) -> Run:
        from looksharp.attention.finite import check_weights
        from looksharp.training.folder import load_run

        run = load_run(self.path, self.settings.checkpoint, self.settings.device)
        check_weights(run.model)
        return run

    def _read(self) -> Data:
        from looksharp.training.data import map_said, run_data

        run, chosen = self._run.result(), self.settings
        data = run_data(run, chosen.data, chosen.root, chosen.class_map)
        print(map_said(data, run.config.data), end="", file=sys.stderr)
        return data


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the run's settings and facts as they stand, which `load_run` checks later."""
    for name in ("config.yaml", "run.json"):
        if not (path / name).is_file():
            raise ValueError(f"{path} is not a run folder: it has no {name}")
    config = read_mapping(path / "config.yaml", "a run's settings")
    try:
        facts = json.loads(read_text(path / "run.json"))
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"{path / 'run.json'} is not JSON: the run is damaged; train it again") from None
    if not isinstance(facts, dict):
        raise ValueError(f"{path / 'run.json'} must hold facts, name: value; got {facts!r:.60}")
    return config, facts


def _load_other(path: Path, run: Run, device: str) -> Run:
    from looksharp.training.folder import load_run

    other = load_run(path, "last", device)
    if other.classes != run.classes:
        raise ValueError(f"{path} has other classes than {run.path}; choose a run of the same task")
    return other


def _settle(future: Future[T], load: Callable[[], T]) -> None:
    try:
        future.set_result(load())
    except Exception as error:  # whoever waits for it shows it
        future.set_exception(error)


async def _waited(future: Future[T]) -> T:
    """Wait for a result that others may wait for too: a page that goes does not cancel it."""
    return await asyncio.shield(asyncio.wrap_future(future))
