"""Attention rollout, gradient rollout and LeGrad, beside the papers' procedures as plain loops over hooked attention.

The loops are what the authors' code does for one class, batched: timm's attention unfused, whole matrices multiplied
layer by layer, `backward` through all parameters for Chefer et al., and one `autograd.grad` for each layer for LeGrad.
Without an accelerator times are the processor's, which other programs do not lengthen; run it with one thread then.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.mechanisms import rows
from benchmarks.timing import add_options, chosen_device, hardware, measure
from looksharp import attend


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=224, rounds=3)
    parser.set_defaults(backbones=["vit_tiny_patch16_224"], batch=2)
    options = parser.parse_args()
    device = chosen_device(options)
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    print(f"{hardware(device, 'timm')}\n")
    for backbone in options.backbones:
        torch.manual_seed(0)
        images = torch.randn(options.batch, 3, options.size, options.size, device=device)
        model = timm.create_model(backbone, img_size=options.size).to(device).eval()
        classes = torch.zeros(options.batch, dtype=torch.long, device=device)
        plain = _Plain(backbone, model, options.size)
        print(f"**{backbone}, batch {options.batch}, {options.size} px**\n")
        print("| mechanism | looksharp ms | peer | peer ms | peer / looksharp, median (quartiles) |")
        print("|---|---|---|---|---|")
        for name, loop in plain.loops().items():
            ours = partial(_ours, model, images, classes, name)
            theirs = partial(loop, images, classes)
            torch.testing.assert_close(ours(), theirs(), rtol=1e-3, atol=1e-7)
            times = measure({"looksharp": ours, "plain loop": theirs}, options.rounds, device, 1, clock)
            print("\n".join(rows(name, times)), flush=True)
        print()


def _ours(model: nn.Module, images: Tensor, classes: Tensor, name: str) -> Tensor:
    (maps,) = attend(model, images, classes, mechanism=name).maps.values()
    return maps[:, 0].flatten(1)


class _Plain:
    """A copy of a network whose attention is unfused and hooked."""

    def __init__(self, backbone: str, model: nn.Module, size: int) -> None:
        device = next(model.parameters()).device
        made: Any = timm.create_model(backbone, img_size=size).to(device).eval()
        made.load_state_dict(model.state_dict())
        self.model = made
        self.weights: list[Tensor] = []
        self.tokens: list[Tensor] = []
        for block in made.blocks:
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_hook(lambda _m, args, _o: self.weights.append(args[0]))
            block.register_forward_hook(lambda _m, _a, output: self.tokens.append(output))

    def loops(self) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
        return {"rollout": self.rollout, "gradient_rollout": self.gradient_rollout, "legrad": self.legrad}

    def run(self, images: Tensor) -> Tensor:
        self.weights.clear()
        self.tokens.clear()
        return self.model(images)

    def rollout(self, images: Tensor, _classes: Tensor) -> Tensor:
        with torch.no_grad():
            self.run(images)
            identity = torch.eye(self.weights[0].shape[-1], device=images.device)
            found = identity.expand(len(images), -1, -1)
            for layer in self.weights:
                mixed = layer.mean(1) + identity
                found = mixed / mixed.sum(-1, keepdim=True) @ found
        return found[:, 0, 1:]

    def gradient_rollout(self, images: Tensor, classes: Tensor) -> Tensor:
        logits = self.run(images)
        for layer in self.weights:
            layer.retain_grad()
        self.model.zero_grad()
        logits.gather(1, classes[:, None]).sum().backward()
        found = torch.eye(self.weights[0].shape[-1], device=images.device).expand(len(images), -1, -1)
        for layer in self.weights:
            gradient = layer.grad
            assert gradient is not None
            found = found + (layer.detach() * gradient).clamp(min=0).mean(1) @ found
        return found[:, 0, 1:]

    def legrad(self, images: Tensor, classes: Tensor) -> Tensor:
        self.run(images)
        found = torch.zeros((), device=images.device)
        for layer, tokens in zip(self.weights, self.tokens, strict=True):
            score = self.model.forward_head(self.model.norm(tokens)).gather(1, classes[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, layer, retain_graph=True)
            found = found + gradient.clamp(min=0).mean((1, 2))
        return found[:, 1:] / len(self.weights)


if __name__ == "__main__":
    main()
