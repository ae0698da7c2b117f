"""The demonstration: a classifier learns a shortcut, a few boxes are drawn, and the shortcut is gone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from looksharp.attention import attend
from looksharp.config import GuidanceConfig, OptimizationConfig, RunConfig, TrainingConfig
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data
from looksharp.evaluation import evaluate
from looksharp.objectives.icasc import confused_classes
from looksharp.report import Panel, Results, RunResult, Sample, write_report, write_results
from looksharp.training.folder import Run, read_config
from looksharp.training.run import train

__all__ = ["METHODS", "demo"]

_BASE = RunConfig(
    data=DataConfig("biased_digits", rho=0.98),
    optimization=OptimizationConfig(lr=0.1, schedule="cosine"),
    training=TrainingConfig(epochs=14, batch_size=64, device="cpu"),
)

METHODS: dict[str, tuple[str, RunConfig]] = {
    "plain": ("Trained on class labels alone.", _BASE),
    "ICASC": (
        "Also pushes apart the attention of the true and the most confused class.",
        replace(_BASE, objective="icasc"),
    ),
    "GAIN": (
        "Also hides what the network looks at, and asks that nothing of the class is left.",
        replace(_BASE, objective="gain"),
    ),
    "GAIN_ext": (
        "GAIN, and for one image in twenty a box around the digit tells where the evidence belongs.",
        replace(
            _BASE,
            objective="gain",
            guidance=GuidanceConfig(
                "data",
                guided=0.05,
                guided_per_batch=8,
                guidance_boxes=True,
            ),
        ),
    ),
}
"""Name -> one sentence and the settings of each training that the demonstration compares."""


def demo(out: Path, seed: int = 0, *, train_size: int = 6000, epochs: int | None = None, progress: bool = True) -> Path:
    """Train every method on digits with a false cue, evaluate, and write report.html and results.json.

    Args:
        out: folder for the report; the run folders lie below it.
        seed: of everything drawn at random.
        train_size: training images.
        epochs: passes through them; the methods' own number if not given.
        progress: show progress bars.

    Returns:
        The report's path.

    Raises:
        ValueError: if `out` holds runs of other settings; an interrupted demonstration goes on.
    """
    data = build_data(replace(_BASE.data, train_size=train_size), seed)
    runs = _train(data, out / "runs", seed, epochs, progress)
    results = [
        RunResult(name, METHODS[name][0], run.seconds, _curves(run), _measure(run, data, progress))
        for name, run in runs.items()
    ]
    summary = Results(
        title="Find the shortcut, mark a few images, retrain, prove it",
        summary=_summary(results, _facts(runs["GAIN_ext"])["guided"], len(data.splits["train"])),
        data=f"handwritten digits with a coloured patch ({data.name})",
        classes=data.classes,
        settings=_settings(data, results, seed),
        versions=_facts(runs["plain"])["versions"],
        runs=tuple(results),
        chance=1 / len(data.classes),
        split_notes={
            "biased": "The patch has the colour of the digit's class, as in training.",
            "unbiased": "The same images; the patch has a random colour.",
            "conflicting": "The same images; the patch has another class's colour.",
        },
    )
    write_results(out / "results.json", summary)
    write_report(out / "report.html", summary, _samples(data, runs))
    return out / "report.html"


def _train(data: Data, out: Path, seed: int, epochs: int | None, progress: bool) -> dict[str, Run]:
    runs = {}
    for name, (sentence, method) in METHODS.items():
        if progress:
            print(f"{name}: {sentence}", flush=True)
        training = replace(method.training, seed=seed, epochs=epochs or method.training.epochs)
        size = replace(method.data, train_size=len(data.splits["train"]))
        config, begun = replace(method, data=size, training=training), (out / name / "config.yaml").is_file()
        if begun and read_config(out / name) != config:
            raise ValueError(f"{out / name} holds a run of other settings; choose another --out, or remove it")
        runs[name] = train(config, out / name, data=data, resume=begun, progress=progress)
    return runs


def _measure(run: Run, data: Data, progress: bool) -> dict[str, dict[str, float]]:
    return {
        name: evaluate(run.model, split, data.pixels, batch_size=250, progress=name if progress else None)
        for name, split in data.tests.items()
    }


def _summary(results: Sequence[RunResult], marked: int, images: int) -> str:
    plain, guided = results[0].splits, results[-1].splits
    return (
        f"Trained plainly, the classifier is right on {plain['biased']['top1']:.0%} of images like those it was "
        f"trained on, and on {plain['unbiased']['top1']:.0%} of the same images once the patch beside the digit has "
        f"a random colour: it reads the patch. With boxes drawn on {marked:,} of its {images:,} training images it is "
        f"right on {guided['biased']['top1']:.0%} and {guided['unbiased']['top1']:.0%}."
    )


def _settings(data: Data, results: Sequence[RunResult], seed: int) -> dict[str, str]:
    return {
        "Training images": f"{len(data.splits['train']):,}",
        "Images in each test split": f"{len(data.splits['biased']):,}",
        "Network": _BASE.network.backbone,
        "Epochs": str(len(results[0].curves["epoch"])),
        "Seed": str(seed),
    }


def _facts(run: Run) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((run.path / "run.json").read_text())
    return facts


def _curves(run: Run) -> dict[str, list[float]]:
    names = dict.fromkeys(name for row in run.history for name in row if name not in ("seconds", "lr"))
    curves = {name: [row.get(name, math.nan) for row in run.history] for name in names}
    curves["epoch"] = [epoch + 1 for epoch in curves["epoch"]]
    return curves


def _samples(data: Data, runs: dict[str, Run], count: int = 4) -> list[Sample]:
    """The first images whose patch says something else than the digit, and where each run looks in them."""
    split = data.splits["conflicting"]
    samples = []
    for index in range(count):
        target = split.targets[index : index + 1]
        image = split.image(index).as_subclass(Tensor)
        batch = data.pixels.normalize(image).unsqueeze(0)
        panels = {name: _panels(run, batch, target) for name, run in runs.items()}
        outline = split.pairs.of(index)[0][1] if split.pairs is not None else None
        title = f"a {data.classes[int(target)]} beside another class's patch"
        samples.append(Sample(image.float() / 255, title, outline, panels))
    return samples


def _panels(run: Run, image: Tensor, target: Tensor) -> tuple[Panel, Panel]:
    device = next(run.model.parameters()).device
    with torch.no_grad():
        logits = run.model(image.to(device))
    classes, _ = confused_classes(logits, target.to(device))
    found = attend(run.model, image.to(device), classes)
    odds = found.logits.softmax(1)[0, classes[0]].tolist()
    (maps,) = found.maps.values()
    true, confused = (
        Panel(f"{run.classes[index]}: {odds[place]:.0%}", maps[0, place].cpu(), emphasis=place == 0)
        for place, index in enumerate(classes[0].tolist())
    )
    return true, confused
