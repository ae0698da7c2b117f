"""Read the outputs of chosen layers, and the input of the classifier, during one forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from looksharp.attention.layout import layout_of
from looksharp.attention.recording import first_tensor
from looksharp.attention.threads import hook_here

__all__ = ["Taps", "tap"]


@dataclass
class Taps:
    """Outputs and inputs that were read in one forward.

    Attributes:
        outputs: layer name -> its output, in the network's own layout.
        classified: the classifier's input.

    """

    network: nn.Module
    outputs: dict[str, Tensor] = field(default_factory=dict)
    classified: Tensor | None = None

    def features(self, layer: str, images: Tensor) -> Tensor:
        """Return the map (B, C, h, w) of a layer for these images.

        Raises:
            ValueError: if the layer did not run, or its output has no map.

        """
        if layer not in self.outputs:
            raise ValueError(f"layer {layer!r} did not return a tensor: it has no map; name another one")
        output = self.outputs[layer]
        size = (images.shape[-2], images.shape[-1])
        return layout_of(self.network, layer, output, size).to_map(output)


@contextmanager
def tap(network: nn.Module, layers: Sequence[str], classifier: str | None = None) -> Iterator[Taps]:
    """Read `layers` and, if named, the input of `classifier` in the forward that runs inside the `with`.

    Unlike `record` it leaves the graph alone and enables no gradient. If a layer runs more than
    once, its last call is kept.
    """
    taps = Taps(network)

    def keep_output(layer: str, output: object) -> None:
        found = first_tensor(output)
        if found is not None:
            taps.outputs[layer] = found.clone()  # a later operation may write in place

    def keep_input(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        taps.classified = args[0] if args else None

    with ExitStack() as stack:
        for layer in layers:
            module = network.get_submodule(layer)
            hook_here(
                stack, module.register_forward_hook, lambda _m, _a, output, layer=layer: keep_output(layer, output)
            )
        if classifier is not None:
            hook_here(stack, network.get_submodule(classifier).register_forward_pre_hook, keep_input)
        yield taps
