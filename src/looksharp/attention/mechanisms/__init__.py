"""Attention mechanisms: pure functions from feature maps and their gradients to class maps, one file each.

A mechanism takes `features` (B, C, h, w) and `gradients` (B, K, C, h, w), the derivative of each of K class
scores (logits, never probabilities) with respect to the features, and returns the map *before* its last ReLU,
(B, K, h, w): evidence for the class where positive, against it where negative. `attention_maps` applies the
ReLU that every one of the papers ends in. To add a mechanism, write one function in one file and register it:

    @MECHANISMS.register("mine")
    def mine(features: Tensor, gradients: Tensor) -> Tensor: ...
"""

from looksharp.attention.mechanisms.base import MECHANISMS, Mechanism, MechanismChoice, find_mechanism

__all__ = ["MECHANISMS", "Mechanism", "MechanismChoice", "find_mechanism"]
