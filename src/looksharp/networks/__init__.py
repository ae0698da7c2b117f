"""Classifiers, and what the papers add to them."""

from looksharp.networks.attend_rectify import AttendAndRectify
from looksharp.networks.build import build_network, network_names
from looksharp.networks.cifar import CifarResNet
from looksharp.networks.head_parameters import head_parameters
from looksharp.networks.small import SmallNet

__all__ = ["AttendAndRectify", "CifarResNet", "SmallNet", "build_network", "head_parameters", "network_names"]
