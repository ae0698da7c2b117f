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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.studies import add_study_flags, printed_study
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data
from looksharp.drawing.charts import curves
from looksharp.evaluation import evaluate
from looksharp.experiments.record import Values
from looksharp.experiments.table import Table
from looksharp.experiments.trial import Trial, plan
from looksharp.objectives.parsing import parse_objective
from looksharp.training.folder import Run
from looksharp.training.history import read_history
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
    parser.add_argument(
        "--clip", type=float, default=1.0, help="largest norm of the gradient, for every row; 0 for any"
    )
    add_study_flags(parser, Path("runs/clutter"), seeds=(0, 1, 2))
    options = parser.parse_args()
    setting = (options.data, options.train_size, options.epochs, options.drop, options.batch_size, options.lr)
    folder = options.out / "-".join(map(str, (*setting, options.clip)))
    trials = plan({name: _config(options, name) for name in options.rows}, options.seeds, folder)
    by_seed = sorted(trials, key=lambda trial: trial.seed)  # so that each seed's images are made once
    table = printed_study(by_seed, lambda trial: _data(trial.config.data, trial.seed), _measure, options)
    trained = [name for name in options.rows if not table.diverged(name)]
    drawn = {chart: [name for name in rows if name in trained] for chart, rows in CHARTS.items()}
    charts = {folder / f"{chart}.png": rows for chart, rows in drawn.items() if rows}
    for path, rows in charts.items():
        if path.stem == "distractors":
            path.write_bytes(_by_distractors(table, rows, options.test_distractors))
        else:
            path.write_bytes(_by_epoch({name: [t.folder for t in trials if t.variant == name] for name in rows}))
    print(table.markdown([f"D = {count}" for count in options.test_distractors], digits=2, scale=100))
    print(f"charts: {', '.join(map(str, charts))}")


_kept: dict[int, Data] = {}


def _data(config: DataConfig, seed: int) -> Data:
    """The images of a seed; the latest are kept."""
    if seed not in _kept:
        _kept.clear()
        _kept[seed] = build_data(config, seed)
    return _kept[seed]


def _config(options: argparse.Namespace, name: str) -> RunConfig:
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
            clip=options.clip or None,
        ),
        training=TrainingConfig(epochs=options.epochs, batch_size=options.batch_size, device=options.device, workers=0),
    )


def _measure(trial: Trial, run: Run, data: Data) -> Values:
    """Error on the test split of each number of distractors."""
    errors = {}
    for name, split in data.tests.items():
        found = evaluate(run.model, split, data.pixels, suites=["classification"], batch_size=250)
        errors[f"D = {name.removeprefix('test') or DISTRACTORS}"] = 1 - found.values["top1"]
    return errors


def _by_distractors(table: Table, rows: Sequence[str], counts: Sequence[int]) -> bytes:
    """Fig. 4e: the error of each row by the number of distractors, with its range over seeds."""
    x = sorted(counts)
    found = {name: [list(table.values(name, f"D = {count}").values()) for count in x] for name in rows}
    return curves(
        {name: (x, list(map(fmean, each))) for name, each in found.items()},
        xlabel="Distractors",
        ylabel="Test error",
        percent=True,
        bands={name: (list(map(min, each)), list(map(max, each))) for name, each in found.items()},
        image_format="png",
    )


def _by_epoch(folders: Mapping[str, Sequence[Path]]) -> bytes:
    """Fig. 4b to 4d: each row's mean validation error by epoch, from its run folders."""
    runs = {name: [read_history(path / "metrics.csv") for path in each] for name, each in folders.items()}
    means = {
        name: [fmean(1 - row["val_top1"] for row in rows) for rows in zip(*each, strict=True)]
        for name, each in runs.items()
    }
    return curves(
        {name: (range(1, len(mean) + 1), mean) for name, mean in means.items()},
        ylabel="Validation error",
        percent=True,
        image_format="png",
    )


if __name__ == "__main__":
    main()
