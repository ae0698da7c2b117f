"""Classifiers, and what the papers add to them."""

from looksharp.networks.architectures import ARCHITECTURES, build_classifier
from looksharp.networks.attention_branch import AttentionBranchNetwork
from looksharp.networks.build import build_network, network_names
from looksharp.networks.cam import CAMNetwork
from looksharp.networks.cifar import CifarResNet
from looksharp.networks.small import SmallNet

__all__ = [
    "ARCHITECTURES",
    "AttentionBranchNetwork",
    "CAMNetwork",
    "CifarResNet",
    "SmallNet",
    "build_classifier",
    "build_network",
    "network_names",
]
