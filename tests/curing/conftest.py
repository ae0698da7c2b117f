"""Segmenters that are trained for a moment: what a cure makes of their masks matters here, not how good they are."""

import pytest

from looksharp.curing import reaching
from looksharp.propagation import keeping


@pytest.fixture(scope="module", autouse=True)
def _brief_segmenters():
    with pytest.MonkeyPatch.context() as patch:
        for module in (keeping, reaching):
            patch.setattr(module, "STEPS", 4)
        yield
