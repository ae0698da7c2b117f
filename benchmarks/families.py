"""Which layers are found in every family of networks, and whether maps there are right.

Takes one small member of each module of timm, and of each family of torchvision's and of transformers' image
classifiers, with random weights (nothing is downloaded), and prints a table family by family:

- layers: those that ICASC reads if none are named; the last is that of `attend`, `explain` and `suspects`.
- map: rows and columns of the last.
- in place: whether a quarter of the image, changed, changes the same quarter of both layers the most; "even" where
  random weights spread each change over the whole map.
- Grad-CAM: whether it equals what autograd's gradient of the layer's own output gives, to 1e-4 of its maximum.
- ICASC: whether a step of its attention terms alone is finite and gives the first layer of the network a gradient.
- suspects: the number of attended patches it finds in 6 images.

A network without such layers has what is said instead, and whether the layer that is named works. Rows are kept in
--out, one line of JSON each, and are not measured again.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks.members import Member, members
from looksharp.attention.attend import attend
from looksharp.attention.recording import logits_of, record
from looksharp.attention.stages import last_stages
from looksharp.data.split import Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.objectives import ICASC
from looksharp.suspects.patches import attended_patches

_COLUMNS = ("layers", "map", "in place", "Grad-CAM", "ICASC", "suspects")
_IMAGES = 6
_CHANGED = 8
_EVEN = 0.27  # of a change falls into one quarter of the map, where a quarter would by chance


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="members whose library, family or name holds this")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/families.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    wanted = [member for member in members() if options.only in f"{member.library} {member.family} {member.name}"]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = options.out.read_text().splitlines() if options.out.is_file() else []
    known = {row["member"]: row for row in map(json.loads, lines)}
    with options.out.open("a") as file, tqdm(wanted) as bar:
        for member in bar:
            bar.set_postfix_str(member.key)
            if member.key not in known:
                known[member.key] = _measured(member)
                file.write(json.dumps(known[member.key]) + "\n")
                file.flush()
    print(f"| network | {' | '.join(_COLUMNS)} |\n|{'---|' * (len(_COLUMNS) + 1)}")
    for member in wanted:
        row = known[member.key]
        cells = [row["refused"], *[""] * (len(_COLUMNS) - 1)] if "refused" in row else [row[name] for name in _COLUMNS]
        print(f"| {member.key} | {' | '.join(re.sub('[|]', '/', str(cell)) for cell in cells)} |")


def _measured(member: Member) -> dict[str, object]:
    """Return a row: a cell for each column, or what is said."""
    torch.manual_seed(0)
    started = time.process_time()
    row: dict[str, object] = {"member": member.key}
    images = torch.randn(2, 3, member.size, member.size)
    try:
        model = member.build().eval()
    except Exception as error:  # of the library's: a package that is missing, or a small size that it does not take
        return row | {"refused": f"not built: {_line(error)}"}
    _fill_zeros(model)
    _settle(model, member.size)
    try:
        layers = last_stages(model, images)
        attend(model, images)
    except (ValueError, TypeError) as error:
        named = [name for name in re.findall(r"'([\w.]+)'", str(error)) if name in dict(model.named_modules())]
        works = _cell(lambda: _agrees(model, images, named[-1])) if named else "none"
        return row | {"refused": f"{_line(error)}; the last layer named: {works}"}
    except Exception as error:  # which is a fault, and stands in the table as one
        return row | {"refused": f"FAULT {type(error).__name__}: {_line(error)}"}
    row["layers"] = ", ".join(layers)
    row["map"] = _cell(lambda: _size(model, images, layers[-1]))
    placed = [_cell(partial(_in_place, model, images, layer)) for layer in layers]
    row["in place"] = placed[-1] if placed[0] in ("yes", placed[-1]) else f"{placed[0]} (inner), {placed[-1]}"
    row["Grad-CAM"] = _cell(lambda: _agrees(model, images, layers[-1]))
    row["suspects"] = _cell(lambda: _patches(model, member.size))
    row["ICASC"] = _cell(lambda: _trains(model, images))
    return row | {"seconds": round(time.process_time() - started, 1)}


def _cell(measure: Callable[[], str]) -> str:
    try:
        return measure()
    except Exception as error:  # which is a fault, and stands in the table as one
        return f"FAULT {type(error).__name__}: {_line(error)}"


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:400]


def _fill_zeros(model: nn.Module) -> None:
    """Give weights that start as zeros, such as new classifiers, and scales of next to nothing, a size."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.02)
            elif parameter.ndim <= 1 and parameter.numel() > 1 and 0 < float(parameter.abs().max()) < 1e-3:
                parameter.fill_(0.1)


def _settle(model: nn.Module, size: int) -> None:
    """Let BatchNorm know what it normalises, as a trained network does; with random weights, signals vanish else."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            model.train()(torch.randn(4, 3, size, size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def _size(model: nn.Module, images: Tensor, layer: str) -> str:
    found = attend(model, images, top=2).maps
    assert list(found) == [layer]
    return " x ".join(map(str, found[layer].shape[-2:]))


def _in_place(model: nn.Module, images: Tensor, layer: str) -> str:
    """Change a quarter of an image at a time, and compare with what the other changes do at the same place."""
    height, width = (side // 2 for side in images.shape[-2:])
    share = torch.zeros(4, 4)  # (change, corner)
    for _ in range(_CHANGED):
        seen = torch.randn_like(images[:1]).repeat(5, 1, 1, 1)
        change = torch.randn_like(seen[0, :, :height, :width])
        for place in range(4):
            top, left = height * (place // 2), width * (place % 2)
            seen[place + 1, :, top : top + height, left : left + width] += change
        with torch.no_grad(), record(model, [layer]) as features:
            model(seen)
        difference = (features[layer][1:] - features[layer][:1]).square().sum(1)  # (4, h, w)
        rows, columns = difference.shape[1] // 2, difference.shape[2] // 2
        corners = [difference[:, :rows, :columns], difference[:, :rows, -columns:]]
        corners += [difference[:, -rows:, :columns], difference[:, -rows:, -columns:]]
        share += torch.stack([corner.mean((1, 2)) for corner in corners], 1)
    for _ in range(9):  # some corners and some changes weigh more than others
        share = share / share.sum(0)
        share = share / share.sum(1, keepdim=True)
    if not share.isfinite().all():
        return "no change"
    if share.argmax(1).tolist() == [0, 1, 2, 3]:
        return "yes"
    return "even" if share.max() < _EVEN else f"NO: {share.argmax(1).tolist()}"


def _agrees(model: nn.Module, images: Tensor, layer: str) -> str:
    """Compare Grad-CAM with that from the layer's own output, kept by a hook, whatever its layout."""
    found = attend(model, images, layers=[layer], top=2)
    maps = found.maps[layer]
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
        kept.append(output if isinstance(output, Tensor) else output[0])
        copy = kept[-1].clone()  # what follows may write in place
        return copy if isinstance(output, Tensor) else (copy, *output[1:])

    hook = model.get_submodule(layer).register_forward_hook(keep)
    logits = logits_of(model(images))
    hook.remove()
    expected = []
    for place in range(found.classes.shape[1]):
        scores = logits.gather(1, found.classes[:, [place]]).sum()
        (gradient,) = torch.autograd.grad(scores, kept[0], retain_graph=True)
        gradient, features = _as_map(gradient, maps), _as_map(kept[0].detach(), maps)
        expected.append((gradient.mean((2, 3), keepdim=True) * features).sum(1).relu())
    if not maps.any():
        return "NO: all zeros"
    error = (torch.stack(expected, 1) - maps).abs().max() / maps.abs().max()
    return "right" if error < 1e-4 else f"NO: off by {error:.1g}"


def _as_map(output: Tensor, maps: Tensor) -> Tensor:
    """Lay out by the map's size alone: rows and columns last, or in the middle, or the last tokens."""
    height, width = maps.shape[-2:]
    if output.ndim == 3:
        return output[:, -height * width :].mT.reshape(len(output), -1, height, width)
    return output if output.shape[-2:] == (height, width) else output.permute(0, 3, 1, 2)


def _trains(model: nn.Module, images: Tensor) -> str:
    first: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda module, _args, _output: first.append(module))
        for module in model.modules()
        if any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
    ]
    step = ICASC(classifies=False)(model.train(), (images, torch.tensor([0, 1])))
    for hook in hooks:
        hook.remove()
    step.loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not (step.loss.isfinite() and all(gradient.isfinite().all() for gradient in gradients)):
        return "NO: not finite"
    stem = [parameter.grad for parameter in first[0].parameters(recurse=False) if parameter.ndim > 1]
    return "trains" if all(grad is not None and grad.any() for grad in stem) else "NO: nothing at the stem"


def _patches(model: nn.Module, size: int) -> str:
    pixels = torch.randint(256, (_IMAGES, 3, 8, 8), dtype=torch.uint8)
    split = TensorSplit(targets=torch.arange(_IMAGES) % 5, images=F.interpolate(pixels, (size, size)))
    found = attended_patches(model.eval(), split, Pixels((size, size)), list(range(_IMAGES)), progress=False)
    return f"{len(found)} patches"


if __name__ == "__main__":
    main()
