"""What built-in attention brings on digits among clutter, over seeds, alone and with ICASC's terms.

Trains a backbone, and around it an attention branch (ABN) and attention modules (WARN), each by classification and by
ICASC, for equally many epochs, and prints accuracy on the test digits, the share of Grad-CAM inside their strokes, and
training time: mean, standard deviation and the mean difference to the plain backbone. Every seed draws its own digits,
weights and order. Finished runs are kept in --out and not trained again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.tables import table
from looksharp.data.build import DataConfig, build_data
from looksharp.evaluation import evaluate
from looksharp.files import write_text
from looksharp.objectives.parsing import parse_objective
from looksharp.training import load_run, train
from looksharp.training.settings import NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

ARCHITECTURES: tuple[str, ...] = ("plain", "attention_branch", "attend_rectify")
OBJECTIVES = ("classification", "icasc")
_MEASURES = ("top1", "attention_inside", "pointing_game")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/architectures"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, dict[str, list[float]]] = {}
    names = [f"{architecture}, {objective}" for architecture in ARCHITECTURES for objective in OBJECTIVES]
    for seed in options.seeds:
        data = build_data(DataConfig("digits"), seed)
        for name in names:
            architecture, objective = name.split(", ")
            out = options.out / options.backbone / str(seed) / f"{architecture}-{objective}"
            if not (out / "measured.json").is_file():
                config = RunConfig(
                    objective=parse_objective(objective),
                    data=DataConfig("digits"),
                    network=NetworkConfig(options.backbone, architecture=architecture),
                    optimization=OptimizationConfig(),
                    training=TrainingConfig(
                        epochs=options.epochs,
                        augment="crop",
                        seed=seed,
                        precision=options.precision,
                        device=options.device,
                    ),
                )
                train(config, out, data=data, progress=False, resume=out.exists())
                run = load_run(out, device=options.device)
                values = evaluate(run.model, data.splits["test"], data.pixels, batch_size=250).values
                measured = {name: values[name] for name in _MEASURES if name in values} | {"seconds": run.seconds}
                write_text(out / "measured.json", json.dumps(measured, indent=2) + "\n")
            measured = json.loads((out / "measured.json").read_text())
            for column, value in measured.items():
                found.setdefault(column, {}).setdefault(name, []).append(value)
            print(seed, name, {column: round(value, 3) for column, value in measured.items()}, flush=True)
    print(table(found, names))


if __name__ == "__main__":
    main()
