"""Find the test images that all compared runs are measured on."""

from __future__ import annotations

from collections.abc import Sequence

from looksharp.comparison.grouping import Method
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data, Split
from looksharp.training.data import fitted_data
from looksharp.training.facts import read_facts
from looksharp.training.folder import read_config
from looksharp.training.settings import RunConfig

__all__ = ["common_data", "fingerprint"]

_SYNTHETIC = ("digits", "biased_digits", "cluttered_digits", "cluttered_mnist")
_SAMPLED = 16  # images of a split whose pixels are compared


def common_data(methods: Sequence[Method]) -> Data:
    """Return the first run's data, after checking that all runs have its classes and test images.

    Synthetic data draws its test images from the seed, but never from what is trained on: the first run's serve all
    runs. Other data may be divided by seed, and what is one run's test image was then another's to train on: so
    every run's own division must leave the same test images.

    Raises:
        ValueError: if a run has other classes or other test images.
    """
    runs = [path for method in methods for path in method.runs]
    classes = {path: read_facts(path).classes for path in runs}
    for path, names in classes.items():
        if names != classes[runs[0]]:
            raise ValueError(
                f"runs must have the same classes; {path} has {len(names)}, first {names[0]!r}, and {runs[0]} "
                f"{len(classes[runs[0]])}, first {classes[runs[0]][0]!r}"
            )
    configs = {path: read_config(path) for path in runs}
    first = _source(configs[runs[0]], configs[runs[0]])
    data = fitted_data(build_data(*first), classes[runs[0]])
    expected = {name: fingerprint(split) for name, split in data.tests.items()}
    seen = [first]
    for path, config in configs.items():
        source = _source(config, configs[runs[0]])
        if source in seen:
            continue
        seen.append(source)
        other = fitted_data(build_data(*source), classes[runs[0]])
        found = {name: fingerprint(split) for name, split in other.tests.items()}
        if found != expected:
            divided = source[0] == first[0]
            mend = "they are divided by seed, so give the data a test folder" if divided else "leave it out"
            tests = ", ".join(f"{name} ({len(split)})" for name, split in data.tests.items())
            raise ValueError(
                f"runs must be tested on the same images; {path} has others than {runs[0]}, {tests}: {mend}"
            )
    return data


def _source(config: RunConfig, first: RunConfig) -> tuple[DataConfig, int]:
    return config.data, (first if config.data.data in _SYNTHETIC else config).training.seed


def fingerprint(split: Split) -> str:
    """Return a text that is equal for splits of the same targets and of the same pixels in some images."""
    return split.fingerprint(sampled=_SAMPLED)
