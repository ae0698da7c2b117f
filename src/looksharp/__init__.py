"""Train image classifiers that look at the right place, and show, measure and correct where they look."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from looksharp.adopting import adopt
    from looksharp.attention.attend import attend, attention_maps
    from looksharp.attention.maps import normalize_maps, resize_maps
    from looksharp.attention.mechanisms import MECHANISMS
    from looksharp.attention.recording import record
    from looksharp.attention.stages import last_stages
    from looksharp.batch import Batch
    from looksharp.curing.retraining import cure
    from looksharp.data import DataConfig, build_data
    from looksharp.data.pixels import Pixels
    from looksharp.evaluation import evaluate
    from looksharp.explaining.explain import explain
    from looksharp.explaining.many import explain_many
    from looksharp.explaining.settings import ManySettings
    from looksharp.explaining.shard import read_maps
    from looksharp.exporting.export import export
    from looksharp.exporting.hub_classifier import HubClassifier
    from looksharp.interventions.examples import example_pictures
    from looksharp.interventions.intervene import INTERVENTIONS, Interventions, intervene
    from looksharp.networks import (
        AttendAndRectify,
        AttentionBranchNetwork,
        CAMNetwork,
        build_classifier,
        build_network,
        built_in_attention,
    )
    from looksharp.objectives import (
        GAIN,
        ICASC,
        PARTS,
        Agreement,
        BackgroundExchange,
        BranchLoss,
        Classification,
        CueExchange,
        GroupDRO,
        Guidance,
        HeadDiversity,
        Objective,
        Step,
    )
    from looksharp.reproducing import reproduce
    from looksharp.ruler.rank import rank_mechanisms
    from looksharp.ruler.settings import RulerSettings
    from looksharp.training import load_run, train
    from looksharp.training.reweighting import reweight_last_layer
    from looksharp.training.settings import RunConfig

__all__ = [
    "GAIN",
    "ICASC",
    "INTERVENTIONS",
    "MECHANISMS",
    "PARTS",
    "Agreement",
    "AttendAndRectify",
    "AttentionBranchNetwork",
    "BackgroundExchange",
    "Batch",
    "BranchLoss",
    "CAMNetwork",
    "Classification",
    "CueExchange",
    "DataConfig",
    "GroupDRO",
    "Guidance",
    "HeadDiversity",
    "HubClassifier",
    "Interventions",
    "ManySettings",
    "Objective",
    "Pixels",
    "RulerSettings",
    "RunConfig",
    "Step",
    "adopt",
    "attend",
    "attention_maps",
    "build_classifier",
    "build_data",
    "build_network",
    "built_in_attention",
    "cure",
    "evaluate",
    "example_pictures",
    "explain",
    "explain_many",
    "export",
    "intervene",
    "last_stages",
    "load_run",
    "normalize_maps",
    "rank_mechanisms",
    "read_maps",
    "record",
    "reproduce",
    "resize_maps",
    "reweight_last_layer",
    "train",
]

_HOMES = {
    "adopting": ("adopt",),
    "attention.attend": ("attend", "attention_maps"),
    "batch": ("Batch",),
    "training.settings": ("RunConfig",),
    "curing.retraining": ("cure",),
    "data": ("DataConfig", "build_data"),
    "data.pixels": ("Pixels",),
    "evaluation": ("evaluate",),
    "explaining.explain": ("explain",),
    "explaining.many": ("explain_many",),
    "explaining.settings": ("ManySettings",),
    "explaining.shard": ("read_maps",),
    "exporting.export": ("export",),
    "exporting.hub_classifier": ("HubClassifier",),
    "interventions.examples": ("example_pictures",),
    "interventions.intervene": ("INTERVENTIONS", "Interventions", "intervene"),
    "attention.maps": ("normalize_maps", "resize_maps"),
    "attention.mechanisms": ("MECHANISMS",),
    "networks": (
        "AttendAndRectify",
        "AttentionBranchNetwork",
        "CAMNetwork",
        "build_classifier",
        "build_network",
        "built_in_attention",
    ),
    "objectives": (
        "GAIN",
        "ICASC",
        "PARTS",
        "Agreement",
        "BackgroundExchange",
        "BranchLoss",
        "Classification",
        "CueExchange",
        "GroupDRO",
        "Guidance",
        "HeadDiversity",
        "Objective",
        "Step",
    ),
    "attention.recording": ("record",),
    "reproducing": ("reproduce",),
    "ruler.rank": ("rank_mechanisms",),
    "ruler.settings": ("RulerSettings",),
    "training.reweighting": ("reweight_last_layer",),
    "attention.stages": ("last_stages",),
    "training": ("load_run", "train"),
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: `import looksharp` alone loads not even torch."""
    if name == "__version__":
        return version("looksharp")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"looksharp.{home}"), name)
    raise AttributeError(f"module 'looksharp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
