"""Last-layer reweighting (DFR): a trained network's features, and a new last layer from group-balanced images."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from looksharp.attention.recording import logits_of, unwrapped
from looksharp.data.sampling import InOrder
from looksharp.data.split import Pixels, Split

__all__ = ["reweight_last_layer"]

Penalty = Literal["l1", "l2"]
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


def reweight_last_layer(
    model: nn.Module,
    split: Split,
    pixels: Pixels,
    *,
    penalty: Penalty = "l1",
    strengths: Sequence[float] = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01),
    subsets: int = 20,
    seed: int = 0,
    batch_size: int = 64,
    workers: int = 0,
) -> nn.Module:
    """Copy a classifier and fit a new last layer where groups are balanced: the features stay.

    Deep feature reweighting: Kirichenko et al. 2023, "Last Layer Re-Training is Sufficient for Robustness to Spurious
    Correlations", Sec. 5 and appendix. Logistic regression, one class against the rest, on the standardised input
    of the last linear layer. Its strength is chosen by worst-group accuracy on half of the images
    (then by accuracy), after fitting to a group-balanced subset of the other half. The weights are then averaged
    over regressions on several group-balanced subsets of all images, as large as the smallest group allows.

    It follows the authors' code with three differences: features are standardised by these images, not by the training
    set's; the halves are drawn group by group; and a class that a subset lacks takes its weights from the subsets that
    have it.

    Groups without an image in the split are left out. If only one is left (a cue that never fails, rho 1.0) there is
    nothing to balance: the layer is fitted again to the same cue, and cures nothing.

    Args:
        model: any classifier whose logits are the output of one `nn.Linear`; it is not changed.
        split: images of known groups, one class each; the paper takes the validation split.
        pixels: the way from their pixels to a network's input.
        penalty: penalty of the weights, "l1" or "l2".
        strengths: inverse strengths C of the penalty to choose from.
        subsets: number of regressions to average.
        seed: seed of the halves and subsets.
        batch_size: images a forward.
        workers: processes that read image files.

    Returns:
        The copy, in evaluation mode. Its logits are log-odds of each class against the rest; with two classes
        their softmax is the regression's probability.

    Raises:
        ValueError: if an option is out of range, groups are not known, images are multi-label, a group or class
            has too few images, or the network does not end in a linear layer.
    """
    if penalty not in get_args(Penalty):
        raise ValueError(f"penalty must be l1 or l2; got {penalty!r}")
    if not strengths or not all(strength > 0 for strength in strengths) or subsets < 1:
        raise ValueError(
            f"strengths must be numbers above 0 and subsets at least 1; got {list(strengths)} and {subsets}"
        )
    if split.groups is None:
        raise ValueError("split has no groups, which tell what to balance; give the data a groups.csv (path, group)")
    if split.targets.ndim == 2:
        raise ValueError("split must have one class for each image; got multi-hot targets")
    network = copy.deepcopy(unwrapped(model)).eval()
    name, linear, features = _features(network, split, pixels, batch_size, workers)
    fit = _Regression(features, split.targets.cpu().numpy(), linear.out_features, penalty, seed)
    groups, rng = split.groups.cpu().numpy(), np.random.default_rng(seed)
    weight, bias = fit.averaged(
        [_balanced(groups, np.arange(len(groups)), rng) for _ in range(subsets)],
        fit.best_strength(strengths, groups, *_halves(groups, rng), rng),
    )
    new = nn.Linear(linear.in_features, linear.out_features).to(linear.weight)
    with torch.no_grad():
        new.weight.copy_(torch.from_numpy(weight))
        new.bias.copy_(torch.from_numpy(bias))
    network.set_submodule(name, new)
    return network


class _Regression:
    """Logistic regressions on the same features (N, D), one class against the rest."""

    def __init__(self, features: _Floats, targets: _Integers, classes: int, penalty: Penalty, seed: int) -> None:
        from sklearn.preprocessing import StandardScaler

        self.scaler = StandardScaler().fit(features)
        self.features: _Floats = self.scaler.transform(features)
        self.targets, self.classes, self.penalty, self.seed = targets, classes, penalty, seed

    def fit(self, places: _Integers, strength: float) -> tuple[_Floats, _Floats]:
        """Fit weights (classes, D) and biases (classes,) to some of the images; NaN for a class they lack."""
        from sklearn.linear_model import LogisticRegression

        new = LogisticRegression().get_params().get("penalty") == "deprecated"  # from scikit-learn 1.8 on
        kind: dict[str, object] = {"l1_ratio": float(self.penalty == "l1")} if new else {"penalty": self.penalty}
        weight = np.full((self.classes, self.features.shape[1]), np.nan)
        bias = np.full(self.classes, np.nan)
        present = np.unique(self.targets[places])
        for label in present if len(present) > 1 else ():
            regression = LogisticRegression(
                C=strength, solver="liblinear", tol=1e-6, max_iter=1000, random_state=self.seed, **kind
            ).fit(self.features[places], self.targets[places] == label)
            weight[label], bias[label] = regression.coef_[0], regression.intercept_[0]
        return weight, bias

    def best_strength(
        self,
        strengths: Sequence[float],
        groups: _Integers,
        fitted: _Integers,
        held_out: _Integers,
        rng: np.random.Generator,
    ) -> float:
        """Choose the strength that serves the worst group of the held-out images best, then all of them."""
        if len(strengths) == 1:
            return strengths[0]
        places, scores = _balanced(groups, fitted, rng), {}
        for strength in strengths:
            weight, bias = self.fit(places, strength)
            logits = np.nan_to_num(self.features[held_out] @ weight.T + bias, nan=-np.inf)
            right = logits.argmax(1) == self.targets[held_out]
            worst = min(right[groups[held_out] == group].mean() for group in np.unique(groups[held_out]))
            scores[strength] = (worst, right.mean())
        return max(scores, key=scores.__getitem__)

    def averaged(self, subsets: Sequence[_Integers], strength: float) -> tuple[_Floats, _Floats]:
        """Return weights and biases for features as they come, averaged over regressions on the subsets."""
        weights, biases = (np.stack(found) for found in zip(*(self.fit(s, strength) for s in subsets), strict=True))
        lacking = np.flatnonzero(np.isnan(biases).all(0))
        if len(lacking):
            raise ValueError(
                f"split must hold images of every class; class {lacking[0]} has none, or none in a group-balanced "
                f"subset of {len(subsets[0])} images; give a larger split"
            )
        weight, bias = np.nanmean(weights, 0), np.nanmean(biases, 0)
        weight = weight / self.scaler.scale_
        bias = bias - weight @ self.scaler.mean_
        return (weight / 2, bias / 2) if self.classes == 2 else (weight, bias)


def _halves(groups: _Integers, rng: np.random.Generator) -> tuple[_Integers, _Integers]:
    """Divide places of the images in two, group by group."""
    halves: tuple[list[_Integers], list[_Integers]] = [], []
    for group in np.unique(groups):
        places = rng.permutation(np.flatnonzero(groups == group))
        if len(places) < 2:
            raise ValueError(f"every group needs at least 2 images; group {group} has 1; give a larger split")
        for half, part in zip(halves, np.array_split(places, 2), strict=True):
            half.append(part)
    return np.concatenate(halves[0]), np.concatenate(halves[1])


def _balanced(groups: _Integers, places: _Integers, rng: np.random.Generator) -> _Integers:
    """Draw equally many places from each group, without replacement."""
    owned = [places[groups[places] == group] for group in np.unique(groups[places])]
    least = min(map(len, owned))
    return np.concatenate([rng.choice(own, least, replace=False) for own in owned])


@torch.no_grad()
def _features(
    network: nn.Module, split: Split, pixels: Pixels, batch_size: int, workers: int
) -> tuple[str, nn.Linear, _Floats]:
    """Return the last linear layer's name and its input (N, D) for every image."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    calls: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str, args: tuple[Tensor, ...], output: Tensor) -> None:
        calls[name] = args[0], output

    features = []
    last = ""
    with ExitStack() as stack:
        for name, module in network.named_modules():
            # A subclass that computes something else (a cosine classifier, say) is no linear layer.
            if getattr(type(module), "forward", None) is nn.Linear.forward:
                hook = module.register_forward_hook(lambda _m, args, output, name=name: keep(name, args, output))
                stack.callback(hook.remove)
        for batch in split.loader(InOrder(len(split), batch_size), pixels, device=device, workers=workers):
            logits = logits_of(network(batch.image))
            last = next((name for name, (_, output) in calls.items() if output is logits), "")
            if not last:
                raise ValueError(
                    f"model must end in one nn.Linear whose output is the logits; {type(network).__name__} does not"
                )
            features.append(calls[last][0].double().cpu().numpy())
    linear = network.get_submodule(last)
    assert isinstance(linear, nn.Linear)
    return last, linear, np.concatenate(features)
