"""Print what networks cost: parameters, operations and time, beside their backbones."""

from __future__ import annotations

import inspect

from jsonargparse import ArgumentParser, Namespace

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    from looksharp.networks import ARCHITECTURES

    parser.add_argument("names", type=str, nargs="+", help="Backbones, as in train --backbone.")
    parser.add_argument(
        "--architecture",
        nargs="+",
        choices=("all", *ARCHITECTURES),
        default=["all"],
        help="What is built around each of them.",
    )
    parser.add_argument(
        "--classes", type=int | None, default=None, help="Number of classes; 100 for cifar_*, else 1000, if not given."
    )
    parser.add_argument(
        "--image_size", type=int | None, default=None, help="Side of the images, px; 32 for cifar_*, else 224."
    )
    parser.add_argument("--batch_size", type=int, default=1, help="Images a forward that is timed.")
    parser.add_argument("--repeats", type=int, default=10, help="Forwards that are timed, taking turns.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda or mps.")
    for name, architecture in ARCHITECTURES.items():
        skipped = {"backbone", "image_size", "multilabel"} & inspect.signature(architecture).parameters.keys()
        parser.add_class_arguments(architecture, name, skip=skipped)


def run(settings: Namespace) -> None:
    from looksharp.networks import ARCHITECTURES, build_classifier
    from looksharp.networks.profiling import profile_side_by_side
    from looksharp.training.folder import find_device

    for name in ("image_size", "classes"):
        if settings[name] is not None and settings[name] < 1:
            raise ValueError(f"{name} must be at least 1; got {settings[name]}")
    device = find_device(settings.device)
    asked = tuple(ARCHITECTURES) if "all" in settings.architecture else settings.architecture
    rows: list[tuple[str, ...]] = [("network", "parameters", "GFLOP", "x", "ms an image", "x")]
    for backbone in settings.names:
        networks, reasons = {}, {}
        small = backbone.startswith("cifar_")
        side, classes = settings.image_size or (32 if small else 224), settings.classes or (100 if small else 1000)
        for architecture in ("plain", *asked):
            options = vars(settings[architecture]) if architecture != "plain" else {}
            multitask = bool(options.get("multitask"))
            try:
                networks[architecture] = build_classifier(
                    backbone,
                    classes,
                    image_size=(side, side),
                    architecture=architecture,
                    options=options,
                    multilabel=multitask,
                ).to(device)
            except ValueError as error:
                if architecture == "plain" or "all" not in settings.architecture:
                    raise
                reasons[architecture] = str(error)  # not every backbone takes every architecture
        found = profile_side_by_side(
            list(networks.values()), side, batch_size=settings.batch_size, repeats=settings.repeats
        )
        base = found[0]
        for architecture, each in zip(networks, found, strict=True):
            rows.append(
                (
                    backbone if architecture == "plain" else f"  + {architecture}",
                    f"{each.parameters / 1e6:.2f} M",
                    f"{each.flops / 1e9:.3f}",
                    f"{each.flops / base.flops:.2f}",
                    f"{each.seconds_per_image * 1000:.2f}",
                    f"{each.seconds_per_image / base.seconds_per_image:.2f}",
                )
            )
        rows += [(f"  + {name}", *["-"] * 5) for name in reasons]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
    print("A multiplication and the addition behind it are two operations; papers that count multiply-adds give half.")
