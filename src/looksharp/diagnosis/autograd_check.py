"""Grad-CAM by a plain hook and `torch.autograd.grad`, to hold looksharp's maps against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from looksharp.attention.attend import attend
from looksharp.attention.layout import Layout, layout_of
from looksharp.attention.recording import first_tensor, logits_of, unwrapped, with_first

__all__ = ["Seen", "differences", "see"]


class Seen:
    """Output of a layer, and the logits, of one plain forward with gradients.

    Attributes:
        output: the layer's output as it is.
        layout: how a map lies in it.
        logits: (B, C).
    """

    def __init__(self, output: Tensor, layout: Layout, logits: Tensor) -> None:
        self.output, self.layout, self.logits = output, layout, logits

    def maps(self, classes: Tensor) -> Tensor:
        """Return signed Grad-CAM maps (B, K, h, w) of classes (B, K), a backward for each of the K."""
        found = []
        for chosen in classes.T:
            scores = self.logits.gather(1, chosen[:, None]).sum()
            (gradient,) = torch.autograd.grad(scores, self.output, retain_graph=True)
            weights = self.layout.to_map(gradient).mean((-2, -1), keepdim=True)
            found.append((weights * self.layout.to_map(self.output)).sum(1))
        return torch.stack(found, 1).detach()


def see(model: nn.Module, images: Tensor, layer: str) -> Seen:
    """Run a model once, with a hook on a layer.

    Raises:
        ValueError: if the layer has no map, or did not run.
    """
    network = unwrapped(model)
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: object, output: object) -> object:
        found = first_tensor(output)
        if found is None:
            return output
        kept[:] = [found]
        return with_first(output, found.clone())  # what follows may write in place

    handle = network.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = logits_of(model(images.clone().requires_grad_()))
    finally:
        handle.remove()
    if not kept:
        raise ValueError(f"layer {layer!r} did not run")
    output = kept[0]
    return Seen(output, layout_of(network, layer, output, (images.shape[-2], images.shape[-1])), logits)


def differences(model: nn.Module, images: Tensor, layers: tuple[str, ...], top: int = 3) -> dict[str, float]:
    """Return, for each layer, the largest difference between `attend`'s Grad-CAM and plain autograd's.

    Args:
        model: any classifier in evaluation mode.
        images: (B, 3, H, W), normalised as the model expects.
        layers: names of layers.
        top: classes whose maps are compared, those of the highest logits.

    Returns:
        Layer -> difference as a share of the largest value in its maps; NaN where a map is not finite.

    Example:
        >>> from looksharp.networks import SmallNet
        >>> found = differences(SmallNet(10, width=8).eval(), torch.rand(2, 3, 48, 48), ("stage3",))
        >>> found["stage3"] < 1e-5
        True

    """
    ours = attend(model, images, layers=layers, top=top, signed=True)
    found = {}
    for layer in layers:
        plain = see(model, images, layer).maps(ours.classes.to(images.device))
        most = plain.abs().max()
        found[layer] = float((ours.maps[layer] - plain).abs().max() / torch.where(most > 0, most, 1))
    return found
