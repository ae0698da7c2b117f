"""What guidance does to a shortcut, over seeds: accuracy with and without the cue, and where the network looks.

Trains each method on biased digits, or on a folder that `looksharp compose` wrote, for equally many steps, evaluates
it on every test split and by interventions, and prints mean, standard deviation and the mean difference to plain
training. Every seed draws its own weights, order and guided images, and its own digits. Finished runs are kept in
--out and not trained again, so several calls with different seeds may run side by side and another one prints all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.tables import table
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data
from looksharp.data.splits.files import keep_in_memory
from looksharp.evaluation import evaluate
from looksharp.files import write_text
from looksharp.interventions.measuring import intervene
from looksharp.objectives.base import PARTS
from looksharp.objectives.parsing import parse_objective
from looksharp.settings import settings_of
from looksharp.training import load_run, train
from looksharp.training.settings import MarksConfig, NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

METHODS = {
    "plain": "",
    "class_balanced": "",
    "group_dro": "",
    "squared_error": "squared_error",
    "energy": "energy:3",
    "evidence": "evidence:3",
    "contrast": "contrast:3",
    "exchange": "background_exchange",
    "exchange+contrast": "background_exchange+contrast",
    "exchange+squared_error": "background_exchange+squared_error",
    "agreement:0.1": "agreement:0.1",
    "agreement:0.3": "agreement:0.3",
    "agreement": "agreement",
    "agreement+contrast": "agreement+contrast",
}
"""Name -> its choice of guidance; those without any are the baselines."""

_MEASURES = ("top1", "worst_group", "attention_inside", "exchanged_across", "background_gap")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", default="biased_digits", help="biased_digits, or a folder with masks and groups")
    parser.add_argument("--rho", type=float, default=0.98)
    parser.add_argument("--marked", type=float, default=0.05, help="share of the training images, marked by boxes")
    parser.add_argument("--per_batch", type=int, default=32, help="marked images in a batch")
    parser.add_argument("--layer", default=None, help="whose maps guidance reads; found in the backbone if not given")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--epochs", type=int, default=12, help="of plain training; others take as many steps")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--augment", default="crop")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--methods", nargs="+", default=["plain", "contrast", "exchange", "agreement:0.3", "agreement"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/cure"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        data = None
        for name in options.methods:
            config = _config(options, name, seed)
            share = f"-{options.marked:g}" if METHODS[name] else ""
            folder = f"{Path(options.data).name}-{options.rho:g}-{options.backbone}"
            out = options.out / folder / str(seed) / f"{name}{share}"
            if not (out / "measured.json").is_file():
                data = data or keep_in_memory(build_data(config.data, seed))
                _measure(config, data, out)
            measured = json.loads((out / "measured.json").read_text())
            columns = {f"{s}: {m}": values[m] for m in _MEASURES for s, values in measured.items() if m in values}
            for column, value in columns.items():
                found.setdefault(column, {}).setdefault(name, []).append(value)
            print(seed, name, {column: round(value, 3) for column, value in columns.items()}, flush=True)
    print(table(found, options.methods))


def _config(options: argparse.Namespace, name: str, seed: int) -> RunConfig:
    guidance: list[Any] = []
    marks, per_batch, epochs = MarksConfig(), 0, options.epochs
    if METHODS[name]:
        per_batch = options.per_batch
        # Marked places lengthen an epoch: fewer epochs make as many steps.
        epochs = max(round(options.epochs * (options.batch_size - per_batch) / options.batch_size), 1)
        marks = MarksConfig("data", options.marked, marked_per_batch=per_batch, mark_boxes=True)
        guidance = _guidance(METHODS[name], options.layer)
    return RunConfig(
        objective=parse_objective(["group_dro" if name == "group_dro" else "classification", *guidance]),
        data=DataConfig(options.data, settings={"rho": options.rho} if options.data == "biased_digits" else {}),
        network=NetworkConfig(options.backbone),
        marks=marks,
        optimization=OptimizationConfig(
            options.optimizer, lr=options.lr, weight_decay=0.05 if options.optimizer == "adamw" else 5e-4
        ),
        training=TrainingConfig(
            epochs=epochs,
            batch_size=options.batch_size,
            augment=options.augment,
            balance="class" if name == "class_balanced" else "none",
            seed=seed,
            precision=options.precision,
            device=options.device,
        ),
    )


def _guidance(choice: str, layer: str | None) -> list[dict[str, dict[str, Any]]]:
    """The parts of a choice; losses on maps need features first, so they and their companions warm up."""
    parts = [] if choice == "none" else parse_objective(choice)
    warmup = 200 if {"energy", "evidence", "contrast"} & {part.name for part in parts} else 0
    given = {"warmup": warmup, "layer": layer}
    return [
        {p.name: {k: v for k, v in given.items() if k in settings_of(PARTS[p.name])} | dict(p.settings)} for p in parts
    ]


def _measure(config: RunConfig, data: Data, out: Path) -> None:
    """Train, or go on, and keep the run's measures on every test split."""
    train(config, out, data=data, progress=False, resume=out.exists())
    run = load_run(out, device=config.training.device)
    measured = {}
    for name, split in data.tests.items():
        measured[name] = dict(evaluate(run.model, split, data.pixels, batch_size=250).values)
        if name == next(iter(data.tests)):  # the others show the same objects
            measured[name] |= intervene(run.model, split, data.pixels, batch_size=250).values
    write_text(out / "measured.json", json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
