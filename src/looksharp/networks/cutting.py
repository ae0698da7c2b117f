"""Cut a network at its last stage: take the stage out, put something in its place, run it at stride 1."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from looksharp.attention.layout import pair
from looksharp.attention.probing import untouched_forward
from looksharp.attention.recording import first_tensor, logits_of
from looksharp.attention.stages import LastStage, last_stage, stage_at
from looksharp.attention.threads import hook_here

__all__ = ["at_stride_one", "find_stage", "keep_size", "replace_stage", "stage_channels", "stage_input"]

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def find_stage(network: nn.Module, image_size: tuple[int, int], cut: str | None = None) -> LastStage:
    """Find the stage that begins at `cut`, or the network's last stage.

    Args:
        network: any classifier of colour images.
        image_size: (height, width) in pixels at which the last stage is found.
        cut: name of the stage's first module. In an `nn.Sequential` the stage goes on to its last map.

    Raises:
        ValueError: if there is no such module, or no last stage is found.
    """
    images = torch.zeros(2, 3, *image_size, device=_device(network))
    if cut is None:
        return last_stage(network, images)
    names = [name for name, _ in network.named_modules() if name]
    if cut not in names:
        close = difflib.get_close_matches(cut, names, n=3)
        hint = f"did you mean {', '.join(map(repr, close))}?" if close else "see model.named_modules()"
        raise ValueError(f"cut {cut!r} is no module of {type(network).__name__}; {hint}")
    return stage_at(network, images, cut)


def replace_stage(network: nn.Module, found: LastStage, wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Put `wrap(stage)` in the stage's place, and return it.

    The stage is the module `found.name` and, in an `nn.Sequential`, the modules after it up to `found.end`: the last
    blocks of VGG and DenseNet are runs of modules, not modules.
    """
    path, _, first = found.name.rpartition(".")
    parent = network.get_submodule(path)
    stage = parent.get_submodule(first)
    order = [child for child, _ in parent.named_children()]
    following = order[order.index(first) : order.index(found.end.rpartition(".")[2]) + 1]
    if len(following) > 1:
        stage = nn.Sequential()
        for child in following:
            stage.add_module(child, parent.get_submodule(child))
    wrapped = wrap(stage)
    network.set_submodule(found.name, wrapped)
    for child in following[1:]:
        delattr(parent, child)
    return wrapped


def stage_input(network: nn.Module, name: str, image_size: tuple[int, int]) -> tuple[Tensor, int]:
    """Return the input (2, C, h, w) of the module `name` for images of zeros, and the number of logits.

    Raises:
        ValueError: if its input is no map.
    """
    taken: list[Tensor] = []

    def take(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        found = first_tensor(args)
        taken.extend([] if found is None else [found])

    with ExitStack() as stack:
        hook_here(stack, network.get_submodule(name).register_forward_pre_hook, take)
        logits = logits_of(untouched_forward(network, torch.zeros(2, 3, *image_size, device=_device(network))))
    if len(taken) != 1 or taken[0].ndim != 4:
        shapes = ", ".join(str(tuple(value.shape)) for value in taken) or "nothing"
        raise ValueError(f"cut {name!r} must be a module that reads one map (B, C, h, w); it reads {shapes}")
    return taken[0], logits.shape[1]


def at_stride_one(stage: nn.Module) -> nn.Module:
    """Copy a stage, weights included, so that it keeps its input's resolution.

    ABN Sec. 3.1: "We set the stride of the first convolution layer at the residual block as 1 to maintain the
    resolution". Convolutions and pooling that only skip positions lose their stride; pooling that averages or
    compares is left out.
    """
    same = copy.deepcopy(stage)
    for name, module in list(same.named_modules()):
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
            keep_size(same, name, module)
        elif isinstance(module, _POOLS) and pair(module.stride) != (1, 1):
            if pair(module.kernel_size) == (1, 1):
                module.stride = 1
            elif name:
                same.set_submodule(name, nn.Identity())
    return same


def stage_channels(stage: nn.Module, features: Tensor, name: str) -> int:
    """Count the channels that a stage from `at_stride_one` makes of `features` (B, C, h, w).

    Raises:
        ValueError: if it does not keep their size.
    """
    try:
        output = untouched_forward(stage, features)
    except RuntimeError as error:
        raise ValueError(f"cut {name!r}: the stage cannot run at stride 1: {str(error).splitlines()[0]}") from None
    shape: tuple[int, ...] = getattr(output, "shape", ())
    if len(shape) != 4 or shape[-2:] != features.shape[-2:]:
        made = tuple(shape) or type(output).__name__
        raise ValueError(
            f"cut {name!r}: the stage at stride 1 must keep the size of its input {tuple(features.shape)}; "
            f"it makes {made}; name a later module with cut"
        )
    return shape[1]


def keep_size(stage: nn.Module, name: str, conv: nn.Conv2d) -> None:
    """Give a convolution stride 1 and an output of its input's size."""
    conv.stride = (1, 1)
    if not name:
        raise ValueError("cut must name a stage of more than one convolution")
    reach = [dilation * (side - 1) for side, dilation in zip(conv.kernel_size, conv.dilation, strict=True)]
    if all(side % 2 == 0 for side in reach):
        conv.padding = (reach[0] // 2, reach[1] // 2)
        return
    conv.padding = (0, 0)  # an even kernel reaches one position further to one side
    before = [side // 2 for side in reach]
    pad = nn.ZeroPad2d((before[1], reach[1] - before[1], before[0], reach[0] - before[0]))
    stage.set_submodule(name, nn.Sequential(pad, conv))


def _device(network: nn.Module) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
