"""Run an exported classifier with numpy and onnxruntime alone, and draw where it looked.

    looksharp export runs/mine --out model.onnx
    python examples/onnx_maps.py model.onnx photo.ppm overlay.ppm

Pictures are binary PPM here, which needs no library (`magick photo.jpg photo.ppm`); a program of yours decodes its own.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def read_ppm(path: str) -> np.ndarray:
    """Read a binary PPM as bytes (height, width, 3)."""
    kind, width, height, largest, values = Path(path).read_bytes().split(maxsplit=4)
    if kind != b"P6" or largest != b"255":
        raise SystemExit(f"{path} is not a binary PPM of one byte a colour")
    return np.frombuffer(values, np.uint8).reshape(int(height), int(width), 3)


def write_ppm(path: str, picture: np.ndarray) -> None:
    """Write bytes (height, width, 3)."""
    height, width, _ = picture.shape
    Path(path).write_bytes(f"P6\n{width} {height}\n255\n".encode() + picture.tobytes())


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (h, w, ...) bilinearly."""
    rows = np.clip((np.arange(height) + 0.5) * picture.shape[0] / height - 0.5, 0, picture.shape[0] - 1)
    columns = np.clip((np.arange(width) + 0.5) * picture.shape[1] / width - 0.5, 0, picture.shape[1] - 1)
    above, left = rows.astype(int), columns.astype(int)
    below, right = np.minimum(above + 1, picture.shape[0] - 1), np.minimum(left + 1, picture.shape[1] - 1)
    more = (np.newaxis,) * (picture.ndim - 2)
    down, across = (rows - above)[(slice(None), None, *more)], (columns - left)[(None, slice(None), *more)]
    top = picture[above][:, left] * (1 - across) + picture[above][:, right] * across
    bottom = picture[below][:, left] * (1 - across) + picture[below][:, right] * across
    return top * (1 - down) + bottom * down


def cover(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a picture to cover a size, and cut out the middle.

    The exact rule by which a run resizes its files is in the metadata, as `pixels`.
    """
    scale = max(height / picture.shape[0], width / picture.shape[1])
    larger = resize(picture, max(round(picture.shape[0] * scale), height), max(round(picture.shape[1] * scale), width))
    top, left = (larger.shape[0] - height) // 2, (larger.shape[1] - width) // 2
    return larger[top : top + height, left : left + width].round().astype(np.uint8)


def main(model: str, photo: str, overlay: str | None = None) -> None:
    """Print the highest-scoring classes and where each has its evidence, and draw the first one's map."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    names = json.loads(facts["classes"])
    height, width = json.loads(facts["image_size"])

    picture = cover(read_ppm(photo), height, width)
    # Bytes as they are: the file normalises them itself.
    found = session.run(None, {"image": picture.transpose(2, 0, 1)[np.newaxis]})
    outputs = dict(zip([output.name for output in session.get_outputs()], found, strict=True))
    logits, classes = outputs["logits"][0], outputs["classes"][0]
    maps = outputs[json.loads(facts["map_outputs"])[0]][0]  # (K, h, w)

    if json.loads(facts["multilabel"]):
        probabilities = 1 / (1 + np.exp(-logits))
    else:
        probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(f"maps by {facts['mechanism']} at {', '.join(json.loads(facts['layers']))}")
    for place, index in enumerate(classes):
        # Map k is of class k, unless the network has maps of its own that serve all classes.
        shown = maps[place if facts["maps_of"] == "class" else 0]
        row, column = np.unravel_index(shown.argmax(), shown.shape)
        y, x = (row + 0.5) / shown.shape[0] * height, (column + 0.5) / shown.shape[1] * width
        print(f"{names[index]:20} {probabilities[index]:6.1%}  most evidence at x {x:.0f}, y {y:.0f}")

    if overlay is not None:
        evidence = np.maximum(maps[0], 0)
        strength = resize(evidence / max(evidence.max(), 1e-12), height, width)[..., np.newaxis]
        red = np.array([255.0, 0.0, 0.0])
        write_ppm(overlay, (picture * (1 - 0.6 * strength) + red * 0.6 * strength).round().astype(np.uint8))


if __name__ == "__main__":
    main(*sys.argv[1:])
