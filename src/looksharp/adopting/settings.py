"""The settings of an adoption; the flags of `looksharp adopt` are read off them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from looksharp.settings import settings

__all__ = ["AdoptSettings"]


@settings
class AdoptSettings:
    """The settings of an adoption.

    Args:
        model: a timm name, local-dir:FOLDER or hf-hub:NAME of timm; torchvision:NAME; hf:NAME or hf:FOLDER of
            transformers; a name of looksharp, such as small; or package.module:function, your own code that returns an
            nn.Module, imported from the working folder.
        out: run folder to write.
        weights: file of weights, as safetensors or in PyTorch's own format: a state_dict, alone or below state_dict,
            model or model_state_dict, a Lightning checkpoint, or one of timm, whose averaged weights are taken. If not
            given, the weights that are published for the model; of your own code, those that the function returns.
        classes: names in the order of the model's outputs: a file with one name a line, or names separated by commas.
            If not given, those of the model's own configuration, or those of the data if there are as many.
        multilabel: an image may have several classes; with data, the data says so.
        images: number of images, spread evenly over val and test, on which accuracy is measured at once; 0 measures
            nothing.
        device: auto, cpu, cuda or mps.
    """

    model: str
    out: Path | None = None
    weights: Path | None = None
    classes: str | tuple[str, ...] | None = None
    multilabel: bool = False
    images: Annotated[int, Ge(0)] = 1000
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
