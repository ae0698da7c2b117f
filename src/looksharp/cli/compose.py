"""Paint objects over photographs whose kind follows the class."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--foregrounds",
        required=True,
        help="digits, mnist, or an image folder whose objects FOLDER/masks cuts out.",
    )
    parser.add_argument("--root", type=Path, default=None, help="Folder that holds MNIST/raw.")
    parser.add_argument(
        "--backgrounds", nargs="+", required=True, metavar="KIND=FOLDER", help="Photographs, a folder per kind."
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        default=None,
        metavar="CLASS=NAME,NAME",
        help="Classes made of several foreground classes, such as small=0,1,2,3,4 large=5,6,7,8,9. "
        "The n-th class goes with the n-th kind of background.",
    )
    parser.add_argument("--rho", type=float, default=0.95, help="Probability that background and class agree.")
    parser.add_argument("--size", type=int, default=64, help="Side of the images in pixels.")
    parser.add_argument("--train", type=int, default=4000, help="Training images.")
    parser.add_argument("--val", type=int, default=500, help="Validation images.")
    parser.add_argument("--test", type=int, default=1000, help="Images of each test split.")
    parser.add_argument("--seed", type=int, default=0, help="Of everything drawn at random.")
    parser.add_argument("--out", type=Path, required=True, help="Folder to write; train on it with --data.")


def run(settings: Namespace) -> None:
    from looksharp.data.composite import compose, cutouts_of

    values = settings.as_dict()
    backgrounds = {kind: Path(folder) for kind, folder in _named(values["backgrounds"], "backgrounds").items()}
    labels = _named(values["labels"] or [], "labels")
    compose(
        values["out"],
        cutouts_of(values["foregrounds"], values["root"]),
        backgrounds,
        labels={name: members.split(",") for name, members in labels.items()} or None,
        **{name: values[name] for name in ("rho", "size", "train", "val", "test", "seed")},
    )
    print(f"{values['out']}: train on it with looksharp train --data {values['out']}")


def _named(pairs: list[str], flag: str) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"{flag} must be given as NAME=VALUE; got {pair!r}")
    return {name: value for name, value in (pair.split("=", 1) for pair in pairs)}
