"""A classifier that looks at the part of the image that a small network chooses: the spatial transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.layout import pair
from looksharp.networks.architecture import ARCHITECTURES, Architecture

__all__ = ["SpatialTransformer"]

_LARGEST = 10  # positions a side that the localisation network's linear layers read: a 40 px image's, unpooled


@ARCHITECTURES.register("spatial_transformer")
class SpatialTransformer(Architecture):
    """Sample every image by an affine map of its own, then classify the sample.

    Jaderberg et al. 2015, "Spatial Transformer Networks" (arXiv 1506.02025). A localisation network reads the image
    and gives theta (2, 3) (sec. 3.1); each position (x_t, y_t) of the output reads the input at
    (x_s, y_s) = theta (x_t, y_t, 1), both in coordinates that run from -1 to 1 between the image's edges (Eq. 1);
    it is read bilinearly, and as 0 outside the image (Eq. 5): of normalised images, the mean colour. theta starts as
    the identity, so that the backbone's logits stay the same up to rounding. The output is of the input's size. All is
    differentiable, so that any objective trains both networks.

    The localisation network is two 5x5 convolutions, each with ReLU and 2x2 max pooling, and two linear layers, as
    in the paper's convolutional networks for MNIST; it has no norm. Maps larger than 10 x 10 (of images above 40 px)
    are averaged to that before they are flattened.

    Maps recorded inside `backbone` follow the sampled image, not the image itself. The output of `localisation` is
    theta (B, 2, 3), and `theta` computes it.

    Args:
        backbone: a classifier of images (B, in_channels, H, W).
        image_size: side of the images in pixels, or (height, width), for which the linear layers are made. Other sizes
            are sampled at their own size, and their maps averaged to as many positions.
        in_channels: channels of the images.
        width: channels of both convolutions, and units of the hidden linear layer.
        localisation_gradient: factor, in training mode, of the gradient that reaches the localisation network: under
            SGD, its learning rate over the backbone's. At 1 and the backbone's usual rate of 0.1, theta leaves the
            image in some ten steps; all pixels there are 0, so no gradient brings it back.

    Raises:
        ValueError: if `image_size` is below 4 pixels, `in_channels` or `width` is below 1, or `localisation_gradient`
            is not above 0.

    Example:
        >>> from looksharp.networks import ClutterNet
        >>> net = SpatialTransformer(ClutterNet(num_classes=10), image_size=40)
        >>> images = torch.rand(2, 3, 40, 40)
        >>> net(images).shape
        torch.Size([2, 10])
        >>> net.theta(images)[0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        image_size: int | tuple[int, int] = 224,
        in_channels: int = 3,
        width: int = 20,
        localisation_gradient: float = 0.1,
    ) -> None:
        super().__init__()
        height, columns = pair(image_size)
        if min(height, columns) < 4:
            raise ValueError(f"image_size must be at least 4 pixels a side, got {height} x {columns}")
        for argument, value in {"in_channels": in_channels, "width": width}.items():
            if value < 1:
                raise ValueError(f"{argument} must be at least 1, got {value}")
        if not localisation_gradient > 0:
            raise ValueError(f"localisation_gradient must be above 0, got {localisation_gradient:g}")
        self.localisation_gradient = localisation_gradient
        rows, columns = (min(side // 4, _LARGEST) for side in (height, columns))
        last = nn.Linear(width, 6)
        self.localisation = nn.Sequential(
            nn.Conv2d(in_channels, width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d((rows, columns)),
            nn.Flatten(),
            nn.Linear(width * rows * columns, width),
            nn.ReLU(),
            last,
            nn.Unflatten(1, (2, 3)),
        )
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.eye(2, 3).flatten())
        self.backbone = backbone

    def added_parameters(self) -> list[nn.Parameter]:
        """Return no parameters: the localisation network has a rate of its own, `localisation_gradient`."""
        return []

    def theta(self, images: Tensor) -> Tensor:
        """Return the affine maps (B, 2, 3) from positions of the sampled images to positions of `images`."""
        theta: Tensor = self.localisation(images)
        return theta

    def sample(self, images: Tensor, theta: Tensor) -> Tensor:
        """Read images (B, C, H, W) at the positions of theta (B, 2, 3), at the same size.

        With the images' outer edges at -1 and 1 (`align_corners=False`) a theta means the same at every resolution.
        """
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the backbone's logits (B, num_classes) for the sampled images."""
        theta = self.theta(images)
        if self.training:
            theta = torch.lerp(theta.detach(), theta, self.localisation_gradient)
        logits: Tensor = self.backbone(self.sample(images, theta))
        return logits
