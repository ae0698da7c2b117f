"""Attention mechanisms, one file each, of two kinds.

Most are pure functions from feature maps and their gradients to class maps, and can be trained on: a function takes
`features` (B, C, h, w) and `gradients` (B, K, C, h, w), the derivative of each of K class scores (logits, never
probabilities) with respect to the features, and returns the map *before* its last ReLU, (B, K, h, w): evidence for the
class where positive, against it where negative. `attention_maps` applies the ReLU that the papers end in. To add one,
write one function in one file and register it:

    @MECHANISMS.register("mine")
    def mine(features: Tensor, gradients: Tensor) -> Tensor: ...

A function with settings is a callable class under `@settings`, whose method `cotangents` may choose what is
differentiated (see `Contrast`). Mechanisms that run the model themselves are classes below `ModelMechanism`; those
whose one forward gives the logits too are below `SinglePass`.
The first line of the docstring is what `--help` says of a mechanism.
"""

from looksharp.attention.mechanisms.base import (
    IMAGE,
    MECHANISMS,
    TRAINABLE,
    Answered,
    MapFunction,
    Mechanism,
    ModelMechanism,
    SinglePass,
    Spelled,
)
from looksharp.attention.mechanisms.finding import (
    MechanismChoice,
    check_asked,
    find_mechanism,
    find_trainable,
    has_sign,
    mechanism_name,
    mechanism_summaries,
    reads_layers,
)

__all__ = [
    "IMAGE",
    "MECHANISMS",
    "TRAINABLE",
    "Answered",
    "MapFunction",
    "Mechanism",
    "MechanismChoice",
    "ModelMechanism",
    "SinglePass",
    "Spelled",
    "check_asked",
    "find_mechanism",
    "find_trainable",
    "has_sign",
    "mechanism_name",
    "mechanism_summaries",
    "reads_layers",
]
