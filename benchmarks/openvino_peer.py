"""Run openvino_xai's Recipro-CAM, in an environment of its own, on what `benchmarks.exported_maps` left in a folder."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import openvino as ov
from openvino_xai.methods import ReciproCAM


def main(place: Path, rounds: int) -> None:
    """Print how its maps and their cost compare."""
    seen = np.load(place / "seen.npz")
    core = ov.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1})
    method = ReciproCAM(core.read_model(place / "plain.onnx"), embed_scaling=False, prepare_model=False)
    method.prepare_model(load_model=False)
    plain = core.compile_model(core.read_model(place / "plain.onnx"), "CPU", {"INFERENCE_NUM_THREADS": 1})
    method._model_compiled = core.compile_model(method._model, "CPU", {"INFERENCE_NUM_THREADS": 1})
    correlations, largest = [], 0.0
    for image, classes, exported in zip(seen["images"], seen["classes"], seen["maps"], strict=True):
        theirs = np.asarray(method.generate_saliency_map(image[None]))[0][classes]  # (K, h, w)
        ours, theirs = (maps - maps.mean((1, 2), keepdims=True) for maps in (exported, theirs))
        largest = max(largest, float(np.abs(ours - theirs).max() / np.abs(theirs).max()))
        correlations += [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(ours, theirs, strict=True)]
    print(f"openvino_xai, {len(correlations)} maps of {ours.shape[1]} x {ours.shape[2]}: correlation at least")
    print(f"{min(correlations):.6f}, largest difference {largest:.1e} of the largest value")
    image = seen["images"][:1]
    times: dict[str, list[float]] = {"logits alone": [], "with its maps": []}
    for _ in range(rounds + 2):
        for name, task in {"logits alone": plain, "with its maps": method._model_compiled}.items():
            started = time.process_time()
            task(image)
            times[name].append(time.process_time() - started)
    alone, mapped = (float(np.median(found[2:])) for found in times.values())
    print(f"under OpenVINO: logits alone {1000 * alone:.0f} ms, with its maps {1000 * mapped:.0f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
