"""Maps that a network makes itself on the way to its logits."""

from __future__ import annotations

from torch import Tensor, nn

from looksharp.attention.recording import logits_of
from looksharp.exporting.mapped import MapFacts, Mapped, of_classes
from looksharp.networks.architecture import OwnMaps
from looksharp.networks.built_in import attention_sites, built_in_attention, own_maps_of
from looksharp.networks.tapping import tap

__all__ = ["NetworkMaps"]


class NetworkMaps(Mapped):
    """Give the maps that an attention branch, or attention modules, made and used.

    Maps of one place are the output `maps`; those of several are `maps.PLACE`, with the share of each in the answer as
    `shares.PLACE` where there are gates.

    Args:
        network: a classifier with attention of its own.
        images: (B, 3, H, W) with which its places are found.
        top: number of classes.
    """

    def __init__(self, network: nn.Module, images: Tensor, top: int) -> None:
        super().__init__()
        self.network, self.top = network, top
        found = built_in_attention(network, images)
        places = tuple(found.maps)
        outputs = [("maps" if len(places) == 1 else f"maps.{place}") for place in places]
        outputs += [("shares" if len(places) == 1 else f"shares.{place}") for place in places if place in found.shares]
        self.facts = MapFacts("built_in", places, tuple(outputs), "class" if found.per_class else "image")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return logits (B, C), classes (B, K), maps (B, T, h, w) by place, and shares (B, T) by place."""
        names = [full for inside in attention_sites(self.network).values() for full in inside.values()]
        with tap(self.network, names) as taps:
            logits = logits_of(self.network(images))
        return self._chosen(logits, own_maps_of(self.network, taps.outputs))

    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the same from `built_in_attention`."""
        found = built_in_attention(self.network, images)
        own = {place: OwnMaps(maps, found.shares.get(place)) for place, maps in found.maps.items()}
        return self._chosen(found.logits, own)

    def _chosen(self, logits: Tensor, found: dict[str, OwnMaps]) -> tuple[Tensor, ...]:
        classes = logits.topk(self.top).indices
        maps = [of_classes(own.maps, classes) if self.facts.of == "class" else own.maps for own in found.values()]
        shares = [own.shares for own in found.values() if own.shares is not None]
        return logits, classes, *maps, *shares
