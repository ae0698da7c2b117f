"""Attributions of the captum library."""

from __future__ import annotations

import difflib
import importlib
import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn

from looksharp.attention.layout import Layout, layout_of
from looksharp.attention.mechanisms.base import IMAGE, MECHANISMS, ModelMechanism
from looksharp.attention.precision import at_least_float32
from looksharp.attention.probing import untouched_forward
from looksharp.attention.recording import find_modules, first_tensor, logits_of, unwrapped
from looksharp.attention.threads import hook_here, lock_of
from looksharp.attention.tokens import entering
from looksharp.settings import SettingError, near_miss, settings

__all__ = ["Captum"]

_OF_PIXELS = (
    "IntegratedGradients",
    "Saliency",
    "InputXGradient",
    "Deconvolution",
    "GuidedBackprop",
    "GradientShap",
    "DeepLift",
    "Occlusion",
    "FeatureAblation",
    "ShapleyValueSampling",
    "KernelShap",
    "Lime",
    "NoiseTunnel",
)
_OF_LAYERS = (
    "LayerGradCam",
    "LayerActivation",
    "LayerConductance",
    "LayerDeepLift",
    "LayerGradientXActivation",
    "LayerIntegratedGradients",
    "InternalInfluence",
    "GuidedGradCam",
)
_OURS = {
    *("self", "forward_func", "model", "layer", "device_ids", "attribution_method", "inputs", "target", "kwargs"),
    *("additional_forward_args", "return_convergence_delta", "attr_dim_summation", "relu_attributions"),
    *("attribute_to_layer_input", "return_input_shape", "show_progress", "grad_kwargs"),
}
"""Parameters of captum's that are no settings, since a map leaves no choice of them."""


@MECHANISMS.register("captum")
@settings
class Captum(ModelMechanism):
    """Attribute by the captum library: captum:NAME, or captum:NAME,setting=value with captum's own settings.

    Kokhlikyan et al. 2020, "Captum: A unified and generic model interpretability library for PyTorch". Attributions of
    pixels are summed over colours, those of a layer over channels. Classes are attributed one after another, with the
    same random numbers. Needs the extra `captum`. Attributions that take features (`feature_mask`) get squares of
    `patch` pixels unless a mask is given; a missing baseline is 0, the mean colour of normalised images.

    Args:
        name: class of `captum.attr`, such as `IntegratedGradients`, `Occlusion` or `LayerConductance`.
        of: the attribution that `NoiseTunnel` averages over noisy copies.
        patch: side of a feature in pixels; an eighth of the image's shorter side if not given.
        seed: seed of captum's random numbers.
        settings: captum's own, those of the class and of its `attribute`; lists are tuples.

    Example:
        >>> Captum("NoiseTunnel", of="InputXGradient", settings={"nt_samples": 2, "stdevs": 1}).settings
        {'nt_samples': 2, 'stdevs': 1.0}

    """

    name: str = "IntegratedGradients"
    of: str = "Saliency"
    patch: Annotated[int, Ge(1)] | None = None
    seed: Annotated[int, Ge(0)] = 0
    settings: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name("name", self.name, (*_OF_PIXELS, *_OF_LAYERS))
        _check_name("of", self.of, _OF_PIXELS[:-1])
        known = _parameters(self.name) | (_parameters(self.of) if self.name == "NoiseTunnel" else {})
        for name in self.settings:
            if name not in known:
                raise SettingError(near_miss(name, known, f"captum:{self.name}"))
        missing = [name for name, each in known.items() if each.default is each.empty and name != "baselines"]
        for name in missing:
            if name not in self.settings:
                raise SettingError(f"captum:{self.name}.{name} is needed and is not given")
        converted = {
            name: _converted(value, f"{self.name}.{name}", known[name]) for name, value in self.settings.items()
        }
        object.__setattr__(self, "settings", converted)
        object.__setattr__(self, "layered", self.name in _OF_LAYERS)
        object.__setattr__(self, "signed", not self._squared())
        object.__setattr__(self, "uses_classes", self.name != "LayerActivation")

    def _squared(self) -> bool:
        """Return True if the attribution has no sign: sizes, squares, or a layer's values themselves."""
        noisy = self.name == "NoiseTunnel"
        absolute = (self.of if noisy else self.name) == "Saliency" and self.settings.get("abs", True)
        squares = noisy and self.settings.get("nt_type", "smoothgrad") != "smoothgrad"
        return self.name == "LayerActivation" or bool(absolute) or squares

    def maps(self, model: nn.Module, images: Tensor, classes: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return captum's attributions summed over channels; see `ModelMechanism.maps`.

        Raises:
            ValueError: if the model is in training mode, `LayerGradCam` or `GuidedGradCam` is asked of a layer whose
                channels come last, or captum refuses the model, as DeepLift does where a ReLU runs twice.
        """
        network = unwrapped(model)
        if any(module.training for module in network.modules()):
            raise ValueError("captum attributes in evaluation mode alone; call model.eval() first")
        found = {}
        with lock_of(network), _as_captum_needs(network):
            for layer, module in find_modules(network, tuple(layers)).items() if layers else [(IMAGE, None)]:
                layout = None if module is None else _layout(network, layer, module, images[:1])
                if layout is not None and "GradCam" in self.name and layout.kind != "NCHW":
                    raise ValueError(f"captum's {self.name} reads maps (B, C, h, w), which {layer!r} does not return")
                each = [self._attribute(network, images, column, module) for column in classes.T]
                if layout is not None and self.name != "GuidedGradCam":
                    each = [layout.to_map(attribution) for attribution in each]
                found[layer] = torch.stack([at_least_float32(attribution).sum(1) for attribution in each], 1)
        return found

    def _attribute(self, network: nn.Module, images: Tensor, classes: Tensor, layer: nn.Module | None) -> Tensor:
        """Return captum's attribution of one class per image (B,), shaped as the images or the layer's output."""
        values = {**self.settings, **self._defaults(images)}
        model = _Logits(network)
        try:
            with _random(self.seed, images.device):
                if self.name == "NoiseTunnel":
                    made = _class("NoiseTunnel")(_made(self.of, values, model))
                else:
                    made = _made(self.name, values, model, *([] if layer is None else [layer]))
                if self.name != "LayerActivation":
                    values["target"] = classes
                attribution = first_tensor(made.attribute(entering(images), **values))
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ValueError(f"captum's {self.name} fails on {type(network).__name__}: {reason}") from None
        if attribution is None:
            raise ValueError(f"captum's {self.name} returns no attribution")
        return attribution.detach()

    def _defaults(self, images: Tensor) -> dict[str, object]:
        """Return what captum needs of the images, unless it is given: features that are squares, a baseline."""
        values: dict[str, object] = {}
        names = (self.name, self.of) if self.name == "NoiseTunnel" else (self.name,)
        known = {name: each for kind in names for name, each in _parameters(kind).items()}
        if "feature_mask" in known and "feature_mask" not in self.settings:
            height, width = images.shape[-2:]
            side = self.patch or max(min(height, width) // 8, 1)
            rows = torch.arange(height, device=images.device) // side
            columns = torch.arange(width, device=images.device) // side
            squares = rows[:, None] * (int(columns[-1]) + 1) + columns  # (H, W)
            values["feature_mask"] = squares.repeat(1, images.shape[1], 1, 1)
        if "GradientShap" in names:
            # It takes no number, unlike the others.
            baseline = self.settings.get("baselines", 0.0)
            if isinstance(baseline, int | float):
                baseline = torch.full_like(images[:1], baseline)
            values["baselines"] = baseline
        if "attr_dim_summation" in inspect.signature(_class(self.name).attribute).parameters:
            values["attr_dim_summation"] = False
        return values


class _Logits(nn.Module):
    """A network that returns its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.network(images))


def _class(name: str) -> Any:
    """Return a class of captum's.

    Raises:
        SettingError: if captum is not installed.
    """
    try:
        return getattr(importlib.import_module("captum.attr"), name)
    except ImportError:
        raise SettingError(f"captum:{name} needs the package captum: pip install looksharp[captum]") from None


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    """Return the settings of one of captum's classes and of its `attribute`."""
    made = _class(name)
    found = {**inspect.signature(made.__init__).parameters, **inspect.signature(made.attribute).parameters}
    return {key: each for key, each in found.items() if key not in _OURS}


def _made(name: str, values: dict[str, object], *owners: nn.Module) -> Any:
    """Make one of captum's attributions; the settings that its constructor takes leave `values`."""
    made = _class(name)
    taken = inspect.signature(made.__init__).parameters
    return made(*owners, **{key: values.pop(key) for key in list(values) if key in taken})


def _check_name(setting: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
        raise SettingError(f"captum.{setting} {name!r} is not known; {hint}")


def _converted(value: object, name: str, parameter: inspect.Parameter) -> object:
    """Check a value by the type of captum's default, and make lists tuples."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    wanted = type(parameter.default)
    if wanted is float and type(value) is int:
        return float(value)
    if wanted in words and type(value) is not wanted:
        raise SettingError(f"captum:{name} must be {words[wanted]}; got {value!r}")
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _as_tuple(value: object) -> object:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _layout(network: nn.Module, layer: str, module: nn.Module, images: Tensor) -> Layout:
    """Return the layout of what a layer returns."""
    outputs: list[Tensor | None] = []
    with ExitStack() as stack:
        hook_here(stack, module.register_forward_hook, lambda _m, _a, output: outputs.append(first_tensor(output)))
        untouched_forward(network, images)
    if not outputs or outputs[-1] is None:
        raise ValueError(f"layer {layer!r} did not run, or does not return a tensor")
    return layout_of(network, layer, outputs[-1], (images.shape[-2], images.shape[-1]))


@contextmanager
def _as_captum_needs(network: nn.Module) -> Iterator[None]:
    """Switch gradients on, and activations in place and captum's warnings off; all is as before afterwards."""
    in_place: list[Any] = [module for module in network.modules() if getattr(module, "inplace", False) is True]
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"captum\.")
        for module in in_place:
            module.inplace = False
        try:
            yield
        finally:
            for module in in_place:
                module.inplace = True


@contextmanager
def _random(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch and NumPy, and put back the states of both."""
    state = np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)
