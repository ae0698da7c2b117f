import pytest
import torch
from torch import nn
from torch.nn import functional as F

from looksharp.attention.attend import attend
from looksharp.attention.maps import fuse_maps, resize_maps
from looksharp.attention.smoothing import COPIES, Copy, average_over_copies
from looksharp.networks import CifarResNet, SmallNet


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SmallNet(10, width=8).double().eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def smooth_image(size):
    """An image whose values are linear in the place, which bilinear resampling reproduces."""
    rows, columns = (torch.linspace(-1, 1, 2 * side + 1, dtype=torch.float64)[1::2] for side in size)
    return (3 * rows.view(-1, 1) - columns).view(1, 1, *size)


def test_the_copies_are_mirrored_and_scaled():
    assert {(copy.mirrored, copy.scale) for copy in COPIES} == {(m, s) for m in (False, True) for s in (1.0, 0.9, 1.1)}
    assert COPIES[0] == Copy()


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_magnified_about_its_centre(copy):
    image = smooth_image((40, 30))
    found = copy.of(image)
    expected = image / copy.scale
    expected = expected.flip(-1) if copy.mirrored else expected
    inner = (..., slice(4, -4), slice(4, -4))  # no reflection of what lies beyond
    torch.testing.assert_close(found[inner], expected[inner])
    assert found.abs().max() <= 4


@pytest.mark.parametrize("copy", COPIES)
def test_a_copys_map_is_laid_back_on_the_image(copy):
    truth = smooth_image((40, 30))
    placed, shown = copy.back(copy.of(truth))
    torch.testing.assert_close(placed[..., 4:-4, 4:-4], truth[..., 4:-4, 4:-4])
    torch.testing.assert_close(shown[4:-4, 4:-4], torch.ones(32, 22, dtype=torch.float64))
    assert shown[0, 0] == (1 if copy.scale <= 1 else pytest.approx(0, abs=0.01))
    # What is seen of a position that is cut counts by the share that is seen.
    constant, _ = copy.back(torch.ones_like(truth))
    torch.testing.assert_close(constant[0, 0], shown)


def test_a_pixels_own_map_stays_itself(images):
    found = average_over_copies(images, lambda copies: {"image": copies[:, :1] * 0 + 2.5})
    torch.testing.assert_close(found["image"], torch.full_like(images[:, :1], 2.5))


def test_maps_are_averaged_before_their_relu(model, images):
    classes = torch.tensor([[1, 4], [2, 2]])
    found = attend(model, images, classes, layers=["stage2"], signed=True, smooth=True)
    total, count = 0, 0
    for copy in COPIES:
        maps = attend(model, copy.of(images), classes, layers=["stage2"], signed=True).maps["stage2"]
        placed, shown = copy.back(maps)
        total, count = total + placed, count + shown
    torch.testing.assert_close(found.maps["stage2"], total / count)
    plain = attend(model, images, classes, layers=["stage2"], smooth=True)
    torch.testing.assert_close(plain.maps["stage2"], (total / count).relu())
    torch.testing.assert_close(plain.logits, model(images).detach())


def test_a_mirrored_image_has_the_mirrored_map(model, images):
    for mechanism in ("grad_cam", "occlusion:window=8,stride=4", "eigen_cam"):
        once = attend(model, images, torch.tensor([3, 5]), mechanism=mechanism, smooth=True).maps
        turned = attend(model, images.flip(-1), torch.tensor([3, 5]), mechanism=mechanism, smooth=True).maps
        for name, maps in once.items():
            torch.testing.assert_close(turned[name], maps.flip(-1))


def test_the_classes_of_all_copies_are_those_of_the_image(model, images):
    found = attend(model, images, top=2, smooth=True)
    assert torch.equal(found.classes, model(images).topk(2).indices)
    given = attend(model, images, found.classes, smooth=True)
    assert torch.equal(found.maps["stage3"], given.maps["stage3"])


def test_the_network_is_left_alone_in_training_mode(images):
    model = CifarResNet(8, 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attend(model, images.float(), smooth=True, fuse=True)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("signed", [True, False])
def test_layers_are_fused(signed, model, images):
    options = {"classes": torch.tensor([[1, 4], [2, 3]]), "layers": ["stage2", "stage3"], "signed": signed}
    maps = attend(model, images, **options).maps
    (name, fused), *others = attend(model, images, fuse=True, **options).maps.items()
    assert name == "stage2+stage3"
    assert not others
    assert fused.shape == maps["stage2"].shape
    for b in range(2):
        for k in range(2):
            each = []
            for raw in (maps["stage2"][b, k], maps["stage3"][b, k]):
                found = raw / raw.abs().max() if raw.any() else raw
                each.append(
                    F.interpolate(found[None, None], fused.shape[2:], mode="bilinear", align_corners=False)[0, 0]
                )
            torch.testing.assert_close(fused[b, k], (each[0] + each[1]) / 2)
    assert (fused < 0).any() == signed


def test_the_last_two_stages_are_fused_if_none_is_named(model, images):
    (name,) = attend(model, images, fuse=True).maps
    assert name == "stage2+stage3"
    (name,) = attend(model, images, layers="stage3", fuse=True).maps
    assert name == "stage3"


def test_fused_and_smoothed(model, images):
    classes = torch.tensor([1, 2])
    smooth = attend(model, images, classes, layers=["stage2", "stage3"], smooth=True).maps
    both = attend(model, images, classes, layers=["stage2", "stage3"], smooth=True, fuse=True).maps
    torch.testing.assert_close(both["stage2+stage3"], fuse_maps(smooth))


def test_the_finest_layer_sets_the_grid_wherever_it_stands():
    coarse, fine = torch.rand(1, 1, 2, 2), torch.rand(1, 1, 6, 4)
    fused = fuse_maps({"a": coarse, "b": fine})
    torch.testing.assert_close(fused, (resize_maps(coarse / coarse.max(), (6, 4)) + fine / fine.max()) / 2)


def test_nothing_is_fused_where_no_layers_are_read(model, images):
    with pytest.raises(ValueError, match="mechanism 'occlusion' reads no layer that could be chosen"):
        attend(model, images, mechanism="occlusion", fuse=True)


def test_a_zero_map_stays_zero():
    class Nothing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Conv2d(3, 2, 1), nn.Linear(2, 3)

        def forward(self, images):
            return self.head(self.layer(images).mean((2, 3)) * 0)

    found = attend(Nothing().eval(), torch.rand(1, 3, 8, 8), layers=["layer"], smooth=True, fuse=True).maps
    assert found["layer"].eq(0).all()
