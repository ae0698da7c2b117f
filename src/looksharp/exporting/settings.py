"""The settings of an export; the flags of `looksharp export` are read off them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from looksharp.settings import SettingError, settings

__all__ = ["ExportSettings", "Format"]

Format = Literal["onnx", "torch", "hub"]
"""Forms of an exported run."""

_SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}


@settings
class ExportSettings:
    """Run, and the form in which it leaves looksharp.

    Args:
        run: run folder.
        out: file to write, or folder for format hub; model.onnx, model.pt2 or hub in the run folder if not given.
        format: onnx; torch, a program of torch.export (.pt2); or hub, a folder as the Hugging Face Hub holds it, timm's
            own layout for a network of timm. By the ending of out if not given, or else onnx.
        checkpoint: weights to read, last or best.
        top: number of highest-scoring classes whose maps the file gives.
        layer: layer to read; the last one if not given.
        mechanism: mechanism of the maps. If not given, the network's own attention (built_in) where it has some and no
            layer is named; grad_cam where the layer is pooled into one linear classifier; else recipro_cam, which needs
            no backward.
        signed: give evidence against a class too, as values below 0.
        push: ORG/NAME on the Hugging Face Hub to upload to, in format hub; needs network access and a login.
        private: make the repository of push a private one.
    """

    run: Path
    out: Path | None = None
    format: Format | None = None
    checkpoint: Literal["last", "best"] = "last"
    top: Annotated[int, Ge(1)] = 5
    layer: str | None = None
    mechanism: str | None = None
    signed: bool = False
    push: str | None = None
    private: bool = False

    def __post_init__(self) -> None:
        if self.push is not None and self.format not in (None, "hub"):
            raise SettingError(f"push uploads format hub; leave out format {self.format}")
        if self.private and self.push is None:
            raise SettingError("private is for push ORG/NAME, which is not given")
        if self.kind == "hub":
            given = {"layer": self.layer, "mechanism": self.mechanism, "signed": self.signed or None}
            other = next((name for name, value in given.items() if value is not None), None)
            if other is not None:
                raise SettingError(f"{other} is for the maps of formats onnx and torch; format hub holds weights alone")

    @property
    def kind(self) -> Format:
        """Return the format, read off the ending of `out` if none is given."""
        if self.push is not None:
            return "hub"
        if self.format is not None:
            return self.format
        ending = None if self.out is None else self.out.suffix
        return next((name for name, suffix in _SUFFIXES.items() if suffix == ending), "onnx")

    @property
    def target(self) -> Path | None:
        """Return what to write; None if the run is to be uploaded alone."""
        if self.out is not None or self.push is not None:
            return self.out
        return self.run / ("hub" if self.kind == "hub" else f"model{_SUFFIXES[self.kind]}")
