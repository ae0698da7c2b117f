"""What attention modules do against clutter, over seeds: WARN's ablation and its test with more distractors (Fig. 4).

Trains each row on Cluttered Translated MNIST (or, offline, on scikit-learn's digits) with 8 distractors, tests it with
4 to 64, and prints the error in per cent: mean, standard deviation and the mean difference to the first row. Every seed
draws its own images, weights and order. Charts are left in --out: validation error by epoch for the rows of Fig. 4b to
4d, and test error by distractors as in Fig. 4e. Finished runs are kept there and not trained again, so several calls
may run side by side and another one prints all. A row whose training diverges is named in the table.

The paper's size is --train_size 200000 --val_size 100000 --test_size 100000 --epochs 200.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.tables import table
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data
from looksharp.drawing.charts import curves
from looksharp.evaluation import evaluate
from looksharp.files import write_text
from looksharp.objectives.parsing import parse_objective
from looksharp.training import load_run, train
from looksharp.training.module import NonFiniteLossError
from looksharp.training.settings import NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

DISTRACTORS = 8
"""In training; WARN Fig. 4."""

_PLACES = ("stage5", "stage3", "stage2", "stage1", "stage4")
"""Where attention stands, in the order in which depth grows: the fifth convolution, then each pooling backward, whose
first sees the 5 x 5 px that the paper states for depth 4; the fourth convolution, which ends in no pooling, comes last.
"""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        architecture: what is built around the network.
        options: the architecture's own arguments.
        diversity: weight of what keeps attention heads apart; its own if None.
    """

    architecture: str = "plain"
    options: Mapping[str, Any] | None = None
    diversity: float | None = None


def _attention(depth: int, heads: int, *, diversity: float | None = None, **options: Any) -> Row:
    layers = sorted(_PLACES[:depth])
    return Row("attend_rectify", {"layers": layers, "heads": heads, **options}, diversity)


ROWS = {
    "baseline": Row(),
    "AD1": _attention(1, 1),
    "AD2": _attention(2, 1),
    "AD3": _attention(3, 1),
    "AD4": _attention(4, 1),
    "AD5": _attention(5, 1),
    "AD4 AW2": _attention(4, 2),
    "AD4 AW4": _attention(4, 4),
    "AD4 AW8": _attention(4, 8),
    "sigmoid": _attention(4, 4, attention="sigmoid"),
    "no gates": _attention(4, 4, gate="average"),
    "unregularised": _attention(4, 4, diversity=0.0),
    "stn": Row("spatial_transformer"),
}
"""Name -> what is trained. AD is the number of modules, AW that of heads in each, 1 if not said. Sigmoid, no gates and
unregularised are AD4 AW4 with one thing changed."""


CHARTS = {
    "depth": ("baseline", "AD1", "AD2", "AD3", "AD4", "AD5"),
    "width": ("baseline", "AD4", "AD4 AW2", "AD4 AW4", "AD4 AW8"),
    "parts": ("baseline", "AD4 AW4", "unregularised", "sigmoid", "no gates"),
    "distractors": ("baseline", "AD4 AW4", "AD4 AW8", "sigmoid", "stn"),
}
"""Name -> the rows of Fig. 4b to 4e, of those that were trained."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--data", choices=("cluttered_mnist", "cluttered_digits"), default="cluttered_digits")
    parser.add_argument("--root", type=Path, default=None, help="the folder that holds MNIST/raw")
    parser.add_argument("--train_size", type=int, default=6000)
    parser.add_argument("--val_size", type=int, default=1000)
    parser.add_argument("--test_size", type=int, default=2000, help="images for each number of distractors")
    parser.add_argument("--test_distractors", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--drop", type=float, default=0.3, help="share of the epochs after which lr is divided by ten")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient, for every row")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/clutter"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    setting = (options.data, options.train_size, options.epochs, options.drop, options.batch_size, options.lr)
    folder = options.out / "-".join(map(str, (*setting, options.clip)))
    errors: dict[str, dict[str, list[float]]] = {name: {} for name in options.rows}
    epochs: dict[str, list[list[float]]] = {name: [] for name in options.rows}
    columns = [_split(count) for count in options.test_distractors]
    for seed in options.seeds:
        data = None
        for name in options.rows:
            config, out = _config(options, name, seed), folder / str(seed) / name.replace(" ", "-")
            measured = _read(out)
            if not set(columns) <= measured.get("error", {}).keys():
                data = data or build_data(config.data, seed)
                measured = _measure(config, data, columns, out)
            for column in columns:
                errors[name].setdefault(column, []).append(measured["error"][column])
            epochs[name].append(measured["val_error"])
            shown = {column: round(100 * measured["error"][column], 2) for column in columns}
            print(seed, name, shown, f"{measured['seconds']:.0f} s", flush=True)
    trained = [name for name in options.rows if all(epochs[name])]  # all but those that diverged
    drawn = {chart: [name for name in rows if name in trained] for chart, rows in CHARTS.items()}
    charts = {folder / f"{chart}.png": rows for chart, rows in drawn.items() if rows}
    for path, rows in charts.items():
        if path.stem == "distractors":
            path.write_bytes(_by_distractors({name: errors[name] for name in rows}, options.test_distractors))
        else:
            path.write_bytes(_by_epoch({name: epochs[name] for name in rows}))
    by_column = {
        f"D = {count}": {name: [100 * value for value in found[_split(count)]] for name, found in errors.items()}
        for count in options.test_distractors
    }
    print(table(by_column, options.rows, digits=2))
    print(f"charts: {', '.join(map(str, charts))}")


def _split(count: int) -> str:
    """The test split with so many distractors."""
    return "test" if count == DISTRACTORS else f"test{count}"


def _config(options: argparse.Namespace, name: str, seed: int) -> RunConfig:
    row = ROWS[name]
    apart = "" if row.diversity is None else f"+head_diversity:{row.diversity}"
    return RunConfig(
        objective=parse_objective(f"classification{apart}"),
        data=DataConfig(
            options.data,
            root=options.root,
            settings={
                "train": options.train_size,
                "val": options.val_size,
                "test": options.test_size,
                "distractors": DISTRACTORS,
                "test_distractors": [count for count in options.test_distractors if count != DISTRACTORS],
            },
        ),
        network=NetworkConfig("clutter_cnn", architecture=row.architecture, settings=dict(row.options or {})),
        optimization=OptimizationConfig(
            lr=options.lr,
            schedule="step",
            milestones=[max(round(options.drop * options.epochs), 1)],
            clip=options.clip,
        ),
        training=TrainingConfig(
            epochs=options.epochs, batch_size=options.batch_size, seed=seed, device=options.device, workers=0
        ),
    )


def _read(out: Path) -> dict[str, Any]:
    path = out / "measured.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _measure(config: RunConfig, data: Data, columns: Sequence[str], out: Path) -> dict[str, Any]:
    """Train, or go on, and keep the run's error (a share of 1) on the test splits and after each epoch."""
    if not (out / "model.safetensors").is_file():  # which training leaves at its end
        try:
            train(config, out, data=data, progress=False, resume=out.exists())
        except NonFiniteLossError as diverged:
            measured = {"error": dict.fromkeys(columns, math.nan), "val_error": [], "seconds": 0, "why": str(diverged)}
            write_text(out / "measured.json", json.dumps(measured, indent=2) + "\n")
            return measured
    run = load_run(out, device=config.training.device)
    error = dict(_read(out).get("error", {}))
    for column in columns:
        if column not in error:
            found = evaluate(run.model, data.splits[column], data.pixels, suites=["classification"], batch_size=250)
            error[column] = 1 - found.values["top1"]
    measured = {
        "error": error,
        "val_error": [1 - row["val_top1"] for row in run.history],
        "seconds": run.seconds,
    }
    write_text(out / "measured.json", json.dumps(measured, indent=2) + "\n")
    return measured


def _by_distractors(errors: Mapping[str, Mapping[str, list[float]]], counts: Sequence[int]) -> bytes:
    """Fig. 4e: the error of each row by the number of distractors, with its range over seeds."""
    x = sorted(counts)

    def each(found: Mapping[str, list[float]], summary: Callable[[list[float]], float]) -> list[float]:
        return [summary(found[_split(count)]) for count in x]

    return curves(
        {name: (x, each(found, statistics.mean)) for name, found in errors.items()},
        xlabel="Distractors",
        ylabel="Test error",
        percent=True,
        bands={name: (each(found, min), each(found, max)) for name, found in errors.items()},
        image_format="png",
    )


def _by_epoch(epochs: Mapping[str, list[list[float]]]) -> bytes:
    """Fig. 4b to 4d: each row's mean validation error by epoch."""
    means = {name: [statistics.mean(row) for row in zip(*runs, strict=True)] for name, runs in epochs.items()}
    return curves(
        {name: (range(1, len(mean) + 1), mean) for name, mean in means.items()},
        ylabel="Validation error",
        percent=True,
        image_format="png",
    )


if __name__ == "__main__":
    main()
