"""Paint objects over photographs whose kind follows the class."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call
from looksharp.settings import settings

__all__ = ["ComposeSettings"]


@settings
class ComposeSettings:
    """Settings of `looksharp compose`.

    Args:
        foregrounds: digits, mnist, or an image folder with masks of its objects in FOLDER/masks.
        backgrounds: folders of photographs, KIND=FOLDER for each kind.
        out: folder to write, for train --data.
        root: folder that holds MNIST/raw.
        labels: classes made of several foreground classes, CLASS=NAME+NAME, such as small=0+1+2,large=5+6+7. The n-th
            class goes with the n-th kind of background.
        rho: probability that background and class agree.
        size: side of the images in pixels.
        train: number of training images.
        val: number of validation images.
        test: number of images in each test split.
        seed: seed of everything drawn at random.
    """

    foregrounds: str
    backgrounds: list[str]
    out: Path
    root: Path | None = None
    labels: list[str] | None = None
    rho: float = 0.95
    size: int = 64
    train: int = 4000
    val: int = 500
    test: int = 1000
    seed: Annotated[int, Ge(0)] = 0


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    add_flags(parser, ComposeSettings)


def _run(flags: Namespace) -> None:
    from looksharp.data.composite import compose, cutouts_of

    chosen = call(ComposeSettings, flags)
    labels = {name: members.split("+") for name, members in _named(chosen.labels or [], "labels").items()}
    compose(
        chosen.out,
        cutouts_of(chosen.foregrounds, chosen.root),
        {kind: Path(folder) for kind, folder in _named(chosen.backgrounds, "backgrounds").items()},
        labels=labels or None,
        rho=chosen.rho,
        size=chosen.size,
        train=chosen.train,
        val=chosen.val,
        test=chosen.test,
        seed=chosen.seed,
    )
    print(f"{chosen.out}: train on it with looksharp train --data {chosen.out}")


def _named(pairs: list[str], flag: str) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"{flag} must be given as NAME=VALUE; got {pair!r}")
    return {name: value for name, value in (pair.split("=", 1) for pair in pairs)}


COMMANDS.add(
    "compose", Command("Paint objects over photographs whose kind follows the class.", _add_flags, _run, place=7)
)
