"""The settings of the studio; the flags of `looksharp studio` are read off them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from looksharp.settings import settings

__all__ = ["StudioSettings"]


@settings
class StudioSettings:
    """The run that `looksharp studio` opens, and where its page is served.

    Args:
        run: run folder.
        data: other images than the run's own; see train.
        root: folder of that set's files.
        class_map: file that maps the classes of the data to the run's, where they are called otherwise; see train.
        cues: the groups.json of `looksharp suspects RUN`, or its folder; if not given, the studio finds the groups
            itself when it is asked to.
        beside: another run folder of the same classes, whose answers and maps are shown beside the run's.
        port: port of the page; a free one if not given.
        host: address of this machine on which the page is served. With any but 127.0.0.1 others in the network who
            have the token can read the images and start trainings.
        browser: open the page in the browser; --no_browser prints its address alone.
        checkpoint: weights to read, last or best.
        device: auto, cpu, cuda or mps.
    """

    run: Path
    data: str | None = None
    root: Path | None = None
    class_map: Path | None = None
    cues: Path | None = None
    beside: Path | None = None
    port: Annotated[int, Ge(0), Le(65535)] = 0
    host: str = "127.0.0.1"
    browser: bool = True
    checkpoint: Literal["last", "best"] = "last"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
