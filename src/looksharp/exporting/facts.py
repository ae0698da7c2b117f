"""Facts that go with an exported network."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version

from looksharp.exporting.mapped import MapFacts
from looksharp.training.folder import Run

__all__ = ["metadata_of"]


def metadata_of(run: Run, maps: MapFacts) -> dict[str, str]:
    """Return the facts by name, each as text: words as they are, all else as JSON.

    Args:
        run: the run that is exported.
        maps: facts of its maps.

    Returns:
        looksharp: the version. classes: class names, in the order of the logits. multilabel: true if an image may have
        several, whose probabilities are then sigmoids. mechanism, layers, map_outputs, maps_of and signed: see
        `MapFacts`. image_size: height and width. pixels: fields of `Pixels` by which files are brought to that size;
        mean and std are applied inside the network. input: what it takes.
    """
    written: dict[str, object] = {
        "classes": run.classes,
        "multilabel": run.multilabel,
        "layers": maps.layers,
        "map_outputs": maps.outputs,
        "signed": maps.signed,
        "image_size": run.pixels.size,
        "pixels": asdict(run.pixels),
    }
    return {
        "looksharp": version("looksharp"),
        "input": "image: (batch, 3, height, width), uint8, RGB",
        "mechanism": maps.mechanism,
        "maps_of": maps.of,
        **{name: json.dumps(value) for name, value in written.items()},
    }
