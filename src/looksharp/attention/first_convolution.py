"""The convolution that alone reads the images, behind which a sum of gradients is cheaper than gradients of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node
from torch.nn.grad import conv2d_input

from looksharp.attention.precision import at_least_float32

__all__ = ["FirstConvolution", "first_convolution"]


@dataclass(frozen=True)
class FirstConvolution:
    """A convolution whose input is the images.

    Attributes:
        edge: place in the graph at which to differentiate by its output.
        node: the convolution in that graph.
        size: (C, H, W) of an image.

    """

    edge: GradientEdge
    node: Node
    size: tuple[int, int, int]

    def back(self, gradients: Tensor) -> Tensor:
        """Return gradients by images (G, C, H, W) from sums of gradients by outputs (G, D, h, w), in their precision.

        The convolution is linear and the same for all images, so its transpose may follow the sum.
        """
        saved = cast(Any, self.node)
        weight = at_least_float32(saved._saved_weight.detach()).to(gradients.dtype)
        how = (saved._saved_stride, saved._saved_padding, saved._saved_dilation, saved._saved_groups)
        return conv2d_input((len(gradients), *self.size), weight, gradients, *how)


def first_convolution(output: Tensor, images: Tensor) -> FirstConvolution | None:
    """Return the convolution through which alone an output depends on images; None if there is no such one.

    Args:
        output: what a network made of the images.
        images: (N, C, H, W), the leaf at which its graph starts.

    Example:
        >>> import torch
        >>> images = torch.rand(2, 3, 8, 8, requires_grad=True)
        >>> net = torch.nn.Conv2d(3, 4, 3, stride=2, bias=False)
        >>> found = first_convolution(net(images).relu(), images)
        >>> found.back(torch.ones(1, 4, 3, 3)).shape
        torch.Size([1, 3, 8, 8])
        >>> first_convolution(net(images).sum() + images.sum(), images) is None
        True

    """
    readers = _readers(output.grad_fn, images)
    if len(readers) != 1 or readers[0].name() != "ConvolutionBackward0" or images.ndim != 4:
        return None
    (node,) = readers
    parents = [parent is not None and _is_leaf(parent, images) for parent, _ in node.next_functions]
    if parents != [True, False, False] or cast(Any, node)._saved_transposed:
        return None
    channels, height, width = images.shape[1:]
    return FirstConvolution(GradientEdge(node, 0), node, (channels, height, width))


def _readers(node: Node | None, images: Tensor) -> list[Node]:
    """Return the nodes that read the images directly."""
    waiting, seen, found = [node] if node is not None else [], {node}, []
    while waiting:
        each = waiting.pop()
        for parent, _ in each.next_functions:
            if parent is None or parent in seen:
                continue
            if not _is_leaf(parent, images):
                seen.add(parent)
                waiting.append(parent)
            elif each not in found:
                found.append(each)
    return found


def _is_leaf(node: Node, images: Tensor) -> bool:
    return getattr(node, "variable", None) is images
