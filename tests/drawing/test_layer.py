"""The layer of an overlay, composed over the image by hand."""

import numpy as np
import pytest
import torch

from looksharp.drawing.overlay import layer, overlay, picture


@pytest.mark.parametrize("signed", [False, True])
def test_composed_over_the_image_it_is_the_overlay(signed):
    image, attention = torch.rand(3, 200, 240), torch.randn(5, 7) if signed else torch.rand(5, 7)
    drawn = layer(attention, (200, 240), 2.0, signed=signed).astype(float)
    opacity = drawn[..., 3:] / 255
    composed = (1 - opacity) * picture(image) + opacity * drawn[..., :3]
    assert np.abs(composed - overlay(image, attention, 2.0, signed=signed)).max() < 2  # levels of 255, from rounding


def test_where_there_is_no_evidence_it_is_transparent():
    assert not layer(torch.zeros(3, 3), (8, 9)).any()
    with pytest.raises(ValueError, match="attention must be finite"):
        layer(torch.full((2, 2), torch.nan), (4, 4))
