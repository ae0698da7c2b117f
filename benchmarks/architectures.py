"""What built-in attention brings on digits among clutter, over seeds, alone and with ICASC's terms.

Trains a backbone, and around it an attention branch (ABN) and attention modules (WARN), each by classification, by
ICASC and by ICASC with the paper's weights, for equally many epochs, and prints accuracy on the test digits, the share
of Grad-CAM inside their strokes, and training time: mean, standard deviation and the mean difference to the plain
backbone. Every seed draws its own digits, weights and order. Finished runs are kept in --out and not trained again.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from pathlib import Path

from benchmarks.studies import add_study_flags, printed_study
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data
from looksharp.evaluation import evaluate
from looksharp.experiments.record import Values
from looksharp.experiments.trial import Trial, plan
from looksharp.objectives.parsing import parse_objective
from looksharp.training.folder import Run
from looksharp.training.settings import NetworkConfig, RunConfig, TrainingConfig

ARCHITECTURES: tuple[str, ...] = ("plain", "attention_branch", "attend_rectify")
OBJECTIVES = {"classification": "classification", "icasc": "icasc", "icasc, paper": [{"icasc": {"preset": "paper"}}]}
_MEASURES = ("top1", "attention_inside", "pointing_game")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--precision", default="32-true")
    add_study_flags(parser, Path("runs/architectures"), seeds=(0, 1, 2))
    options = parser.parse_args()
    variants = {
        f"{architecture}, {name}": _config(options, architecture, objective)
        for architecture in ARCHITECTURES
        for name, objective in OBJECTIVES.items()
    }
    trials = plan(variants, options.seeds, options.out / options.backbone)
    print(printed_study(trials, lambda trial: _data(trial.seed), _measure, options).markdown())


def _config(options: argparse.Namespace, architecture: str, objective: object) -> RunConfig:
    return RunConfig(
        objective=parse_objective(objective),
        data=DataConfig("digits"),
        network=NetworkConfig(options.backbone, architecture=architecture),
        training=TrainingConfig(
            epochs=options.epochs, augment="crop", precision=options.precision, device=options.device
        ),
    )


@lru_cache(maxsize=2)
def _data(seed: int) -> Data:
    return build_data(DataConfig("digits"), seed)


def _measure(trial: Trial, run: Run, data: Data) -> Values:
    values = evaluate(run.model, data.splits["test"], data.pixels, batch_size=250).values
    return {name: values[name] for name in _MEASURES if name in values} | {"seconds": run.seconds}


if __name__ == "__main__":
    main()
