"""What guidance does to a shortcut, over seeds: accuracy with and without the cue, attention on the object.

Trains the methods of `looksharp demo` on biased digits, or on a folder that `looksharp compose` wrote, for the same
number of epochs, evaluates each on every test split, and prints mean, standard deviation and the mean difference to
the plain classifier. Every seed draws its own weights, order and guided images, and its own digits. Finished runs are
kept in --out and not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

from looksharp.config import RunConfig
from looksharp.data.build import DataConfig, build_data
from looksharp.data.files import keep_in_memory
from looksharp.data.split import Data
from looksharp.demo import METHODS
from looksharp.evaluation import evaluate
from looksharp.files import write_text
from looksharp.training import load_run, train

_MEASURES = ("top1", "worst_group", "attention_inside")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", default="biased_digits", help="biased_digits, or a folder with masks and groups")
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--epochs", type=int, default=None, help="the demonstration's number if not given")
    parser.add_argument("--augment", default=None, help="what suits the data if not given")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/cure"))
    options = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(options.seeds):
        data = keep_in_memory(build_data(DataConfig(options.data), seed))
        for name in options.methods:
            _, method = METHODS[name]
            training = replace(
                method.training,
                seed=seed,
                epochs=options.epochs or method.training.epochs,
                augment=options.augment,
                device=options.device,
            )
            config = replace(
                method,
                data=DataConfig(options.data),
                network=replace(method.network, backbone=options.backbone),
                training=training,
            )
            for column, value in _measure(config, data, options.out / str(seed) / name).items():
                found.setdefault(column, {}).setdefault(name, []).append(value)
            print(seed, name, {column: round(values[name][-1], 3) for column, values in found.items()}, flush=True)
    print(_table(found, options.methods))


def _measure(config: RunConfig, data: Data, out: Path) -> dict[str, float]:
    """The run's measures on every test split, trained or read back."""
    file = out / "evaluation.json"
    if not file.is_file():
        train(config, out, data=data, progress=False, resume=out.exists())
        run = load_run(out, device=config.training.device)
        splits = {n: evaluate(run.model, split, data.pixels, batch_size=250) for n, split in data.tests.items()}
        write_text(file, json.dumps(splits, indent=2) + "\n")
    splits = json.loads(file.read_text())
    return {f"{s} {m}": values[m] for s, values in splits.items() for m in _MEASURES if m in values}


def _table(found: dict[str, dict[str, list[float]]], methods: list[str]) -> str:
    lines = ["| method | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for name in methods:
        cells = [_cell(values[name], values[methods[0]]) for values in found.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[float], plain: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    difference = statistics.mean(v - p for v, p in zip(values, plain, strict=True))
    return f"{statistics.mean(values):.3f} ± {spread:.3f} ({difference:+.3f})"


if __name__ == "__main__":
    main()
