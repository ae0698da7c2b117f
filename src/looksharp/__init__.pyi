"""The public names, each from the module where it is written; `__init__.py` loads them from there on use."""

from looksharp.adopting import adopt as adopt
from looksharp.attention.attend import attend as attend
from looksharp.attention.attend import attention_maps as attention_maps
from looksharp.attention.maps import normalize_maps as normalize_maps
from looksharp.attention.maps import resize_maps as resize_maps
from looksharp.attention.mechanisms import MECHANISMS as MECHANISMS
from looksharp.attention.recording import record as record
from looksharp.attention.stages import last_stages as last_stages
from looksharp.batch import Batch as Batch
from looksharp.curing.retraining import cure as cure
from looksharp.data import DataConfig as DataConfig
from looksharp.data import build_data as build_data
from looksharp.data.pixels import Pixels as Pixels
from looksharp.evaluation import evaluate as evaluate
from looksharp.explaining.explain import explain as explain
from looksharp.explaining.many import explain_many as explain_many
from looksharp.explaining.settings import ManySettings as ManySettings
from looksharp.explaining.shard import read_maps as read_maps
from looksharp.exporting.export import export as export
from looksharp.exporting.hub_classifier import HubClassifier as HubClassifier
from looksharp.interventions.division import INTERVENTIONS as INTERVENTIONS
from looksharp.interventions.examples import example_pictures as example_pictures
from looksharp.interventions.intervene import (
    Interventions as Interventions,
)
from looksharp.interventions.intervene import (
    intervene as intervene,
)
from looksharp.networks import (
    AttendAndRectify as AttendAndRectify,
)
from looksharp.networks import (
    AttentionBranchNetwork as AttentionBranchNetwork,
)
from looksharp.networks import (
    CAMNetwork as CAMNetwork,
)
from looksharp.networks import (
    build_classifier as build_classifier,
)
from looksharp.networks import (
    build_network as build_network,
)
from looksharp.networks import (
    built_in_attention as built_in_attention,
)
from looksharp.objectives import (
    GAIN as GAIN,
)
from looksharp.objectives import (
    ICASC as ICASC,
)
from looksharp.objectives import (
    PARTS as PARTS,
)
from looksharp.objectives import (
    Agreement as Agreement,
)
from looksharp.objectives import (
    BackgroundExchange as BackgroundExchange,
)
from looksharp.objectives import (
    BranchLoss as BranchLoss,
)
from looksharp.objectives import (
    Classification as Classification,
)
from looksharp.objectives import (
    CueExchange as CueExchange,
)
from looksharp.objectives import (
    GroupDRO as GroupDRO,
)
from looksharp.objectives import (
    Guidance as Guidance,
)
from looksharp.objectives import (
    HeadDiversity as HeadDiversity,
)
from looksharp.objectives import (
    Objective as Objective,
)
from looksharp.objectives import (
    Step as Step,
)
from looksharp.reproducing import reproduce as reproduce
from looksharp.ruler.rank import rank_mechanisms as rank_mechanisms
from looksharp.ruler.settings import RulerSettings as RulerSettings
from looksharp.training import load_run as load_run
from looksharp.training import train as train
from looksharp.training.reweighting import reweight_last_layer as reweight_last_layer
from looksharp.training.settings import RunConfig as RunConfig

__version__: str
