"""Classifiers, and what the papers add to them."""

from looksharp.networks.build import build_network, network_names
from looksharp.networks.cifar import CifarResNet
from looksharp.networks.small import SmallNet

__all__ = ["CifarResNet", "SmallNet", "build_network", "network_names"]
