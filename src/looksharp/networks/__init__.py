"""Classifiers, and the papers' additions to them."""

from looksharp.networks.architecture import ARCHITECTURES, Architecture, Attending, OwnMaps
from looksharp.networks.attend_rectify import AttendAndRectify
from looksharp.networks.attention_branch import AttentionBranchNetwork
from looksharp.networks.backbones.build import build_network, network_names
from looksharp.networks.backbones.cifar import CifarResNet
from looksharp.networks.backbones.cifar_bottleneck import CifarBottleneckResNet, cifar_bottleneck_resnet, cifar_resnext
from looksharp.networks.backbones.cifar_dense import cifar_densenet
from looksharp.networks.backbones.cifar_wide import CifarWideResNet
from looksharp.networks.backbones.clutter import ClutterNet
from looksharp.networks.backbones.small import SmallNet
from looksharp.networks.build import build_classifier
from looksharp.networks.built_in import BuiltInAttention, built_in_attention
from looksharp.networks.cam import CAMNetwork
from looksharp.networks.greyscale import Greyscale
from looksharp.networks.head_parameters import head_parameters
from looksharp.networks.large_fov import LargeFOV
from looksharp.networks.spatial_transformer import SpatialTransformer

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "AttendAndRectify",
    "Attending",
    "AttentionBranchNetwork",
    "BuiltInAttention",
    "CAMNetwork",
    "CifarBottleneckResNet",
    "CifarResNet",
    "CifarWideResNet",
    "ClutterNet",
    "Greyscale",
    "LargeFOV",
    "OwnMaps",
    "SmallNet",
    "SpatialTransformer",
    "build_classifier",
    "build_network",
    "built_in_attention",
    "cifar_bottleneck_resnet",
    "cifar_densenet",
    "cifar_resnext",
    "head_parameters",
    "network_names",
]
