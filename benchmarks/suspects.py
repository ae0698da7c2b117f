"""Does it pay to let `looksharp suspects` choose which images to mark? Accuracy once the cue says nothing, over seeds.

For each seed, a plain classifier is trained on biased digits. Then n training images are chosen, by `suspects` from
that classifier, at random, or at random with as many of each class; exactly those are guided by boxes around their
digits in a new training, and accuracy is measured where the patch's colour is random. Prints mean and standard
deviation, and the mean difference to the first choice. Finished runs are kept in --out and not trained again.

    python -m benchmarks.suspects --settings guidance_loss=agreement+contrast backbone=small_deep
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from benchmarks.tables import table
from looksharp.data.build import build_data
from looksharp.data.sampling import InOrder
from looksharp.data.split import Data
from looksharp.files import write_text
from looksharp.suspects import suspects
from looksharp.training import Run, load_run, train
from looksharp.training.settings import MarksConfig, RunConfig

CHOICES = ("random", "balanced", "suspects")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rho", type=float, nargs="+", default=[0.98, 1.0])
    parser.add_argument("-n", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=CHOICES)
    parser.add_argument("--layer", default=None, help="the layer that suspects reads; the last one if not given")
    parser.add_argument(
        "--settings", nargs="*", default=[], metavar="NAME=VALUE", help="of the runs, named as in looksharp train"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/suspects"))
    options = parser.parse_args()
    given = {name: yaml.safe_load(value) for name, value in (pair.split("=", 1) for pair in options.settings)}
    defaults = {"data": "biased_digits", "epochs": 14, "device": "cpu", "workers": 0}
    found: dict[str, dict[str, list[float]]] = {}
    for rho, seed in itertools.product(options.rho, options.seeds):
        config = RunConfig.from_flat(defaults | given | {"biased_digits": {"rho": rho}, "seed": seed})
        data, home = build_data(config.data, seed), options.out / f"rho{rho:g}" / str(seed)
        plain = _accuracy(replace(config, marks=MarksConfig()), data, home / "plain")
        reader = load_run(home / "plain", device=config.training.device)
        for n in options.n:
            row = found.setdefault(f"rho {rho:g}, {n} marked", {})
            row.setdefault("plain", []).append(plain)
            for choice in options.choices:
                guided = _guided(config, data, _choose(choice, n, reader, data, seed, options.layer))
                row.setdefault(choice, []).append(_accuracy(*guided, home / f"{choice}-{n}"))
            print(seed, f"rho {rho:g}, {n} marked", {name: round(v[-1], 3) for name, v in row.items()}, flush=True)
    print(table(found, [*options.choices, "plain"]))


def _choose(choice: str, n: int, reader: Run, data: Data, seed: int, layer: str | None) -> list[int]:
    if choice == "suspects":
        chosen = suspects(reader, data, n, layer=layer, batch_size=250, seed=seed, progress=False).chosen
        return [suspect.index for suspect in chosen]
    targets = data.splits["train"].targets
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    if choice == "random":
        return order[:n].tolist()
    turns = torch.empty_like(order)
    for label in targets.unique():
        own = order[targets[order] == label]
        turns[own] = torch.arange(len(own))  # an image is its class's first, second, ...
    return order[turns[order].argsort(stable=True)][:n].tolist()


def _guided(config: RunConfig, data: Data, indices: list[int]) -> tuple[RunConfig, Data]:
    """Settings and data under which exactly these images are guided, by boxes."""
    split = data.splits["train"]
    assert split.marks is not None
    boxes = replace(split, marks=split.marks.restricted(indices).as_boxes())
    return (
        replace(config, marks=replace(config.marks, marks="data")),
        replace(data, splits=data.splits | {"train": boxes}),
    )


def _accuracy(config: RunConfig, data: Data, out: Path) -> float:
    """Accuracy where the cue says nothing, of the run trained, or read back."""
    file = out / "unbiased.json"
    if not file.is_file():
        model, split = train(config, out, data=data, progress=False, resume=out.exists()).model, data.splits["unbiased"]
        device = next(model.parameters()).device
        with torch.no_grad():
            loader = split.loader(InOrder(len(split), 250), data.pixels, device=device)
            right = torch.cat([model(batch.image).argmax(1) == batch.target for batch in loader])
        write_text(file, json.dumps(float(right.double().mean())))
    return float(json.loads(file.read_text()))


if __name__ == "__main__":
    main()
