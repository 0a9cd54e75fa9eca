"""What lies in a window of each picture of a batch, enlarged to the picture's size, and what of its objects is left."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kd2deploy.core.port import NO_OBJECT


def corners_of(boxes: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 4"]:
    """Left, top, right and bottom of boxes given as centre x, centre y, width and height."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def pixels_in(pixels: Float[Tensor, "B D H W"], windows: Float[Tensor, "B 4"]) -> Float[Tensor, "B D H W"]:
    """Bilinear; `windows` are left, top, right and bottom in 0..1. A row whose window is the whole stays as it is."""
    height, width = pixels.shape[-2:]
    across = (torch.arange(width, device=pixels.device) + 0.5) / width
    down = (torch.arange(height, device=pixels.device) + 0.5) / height
    left, top, right, bottom = (windows.to(pixels.dtype)[:, at, None] for at in range(4))
    columns = (left + (right - left) * across) * 2 - 1
    lines = (top + (bottom - top) * down) * 2 - 1
    grid = torch.stack([columns[:, None, :].expand(-1, height, -1), lines[:, :, None].expand(-1, -1, width)], -1)
    found = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    whole = (windows == windows.new_tensor([0.0, 0.0, 1.0, 1.0])).all(1)
    return pixels.where(whole[:, None, None, None], found)


def objects_in(labels: Float[Tensor, "B T 5"], windows: Float[Tensor, "B 4"]) -> Float[Tensor, "B T 5"]:
    """Classes and boxes cut to the windows, as shares of these; those of which nothing is left go, and the others move
    up. Where the window is the whole, they stay as they are."""
    low, size = windows[:, None, :2], windows[:, None, 2:] - windows[:, None, :2]
    corners = ((corners_of(labels[..., 1:]) - torch.cat([low, low], -1)) / torch.cat([size, size], -1)).clamp(0, 1)
    first, last = corners[..., :2], corners[..., 2:]
    boxes = torch.cat([(first + last) / 2, last - first], -1)
    gone = (labels[..., 0] >= 0) & (boxes[..., 2:] <= 0).any(-1)
    cut = torch.cat([labels[..., :1], boxes], -1)
    cut = cut.masked_fill((labels[..., :1] < 0) | gone[..., None], 0)
    cut[..., 0] = labels[..., 0].masked_fill(gone, NO_OBJECT)
    order = (cut[..., 0] < 0).to(torch.uint8).argsort(dim=1, stable=True)
    cut = cut.gather(1, order[..., None].expand(-1, -1, 5))
    whole = (windows == windows.new_tensor([0.0, 0.0, 1.0, 1.0])).all(1)
    return labels.where(whole[:, None, None], cut)
