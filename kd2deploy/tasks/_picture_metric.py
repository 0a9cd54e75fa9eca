"""What restored pictures are worth: PSNR and structural similarity of luma, inside the border, as is usual.

Luma is Y of YCbCr (ITU-R BT.601, 16..235) of 8-bit pictures, and the border as many pixels as the picture was enlarged
times. Both figures are scikit-image's: PSNR against a range of 255; SSIM with a Gaussian window of 11 pixels and
sigma 1.5 (Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
2004). It needs numpy alone, where torchmetrics would bring torch into every process that scores a deployed file.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kd2deploy.core import Array, Metric, Row, Scores, mark_of
from kd2deploy.errors import DataError
from kd2deploy.tasks._degrading import Degradation
from kd2deploy.tasks._picture_pairs import target_of
from kd2deploy.tasks._strips import png

METRICS = ("psnr", "ssim")
RANGE = 255.0
MOST_DB = 100.0
"""PSNR of a picture without an error, which is infinite: no 8-bit picture with one comes near. Ours."""
KEPT = 4096
"""Values of each picture that agreement is told from, evenly spread. Ours."""
MARK = 8
"""Bytes of the hash of a target."""


class PictureMetric(Metric):
    """Means over the pictures; statistics are each picture's own figures."""

    def __init__(self, degradation: Degradation, name: str = "psnr") -> None:
        if name not in METRICS:
            raise ValueError(f"metric is one of {', '.join(METRICS)}, got {name!r}")
        self.degradation, self.name = degradation, name
        self.suffix = "dB" if name == "psnr" else ""

    def statistics(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Array]:
        pairs = [
            (pixels_of(one), np.asarray(target_of(row, self.degradation), dtype=np.uint8))
            for one, row in zip(outputs["reconstruction"], rows, strict=True)
        ]
        figures = [figures_of(restored, target, self.border) for restored, target in pairs]
        return {
            "psnr": np.array([psnr for psnr, _ in figures]),
            "ssim": np.array([ssim for _, ssim in figures]),
            "target": np.stack([digest(target) for _, target in pairs]),
        }

    @property
    def border(self) -> int:
        """Pixels at each side that do not count."""
        return self.degradation.scale if self.degradation.scale > 1 else 0

    def scores(self, statistics: Mapping[str, Array]) -> Scores:
        metrics = {name: float(statistics[name].mean()) for name in (self.name, *METRICS)}
        return Scores(metrics, statistics, mark_of(statistics["target"]))

    def at(self, statistics: Mapping[str, Array], places: Array) -> float:
        return float(statistics[self.name][places].mean())

    def kept(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Values [b, KEPT], evenly spread over each picture."""
        return {"values": np.stack([spread(one) for one in outputs["reconstruction"]])}

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        """The cosine of the deviations from the first's means, and the PSNR between both, at what is kept."""
        mean = one["values"].mean(1, keepdims=True)
        a, b = one["values"] - mean, other["values"] - mean
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosine = (a * b).sum(1) / np.maximum(lengths, np.finfo(np.float32).tiny)
        error = np.square(one["values"] - other["values"]).mean(1)
        psnr = np.minimum(-10 * np.log10(np.maximum(error, 10 ** (-MOST_DB / 10))), MOST_DB)
        return {"cosine": float(cosine.mean()), "psnr_between": float(psnr.mean())}

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        """The restored picture as PNG, in base64."""
        pictures = [pixels_of(one) for one in outputs["reconstruction"]]
        return [{"width": one.shape[1], "height": one.shape[0], "png": png(one)} for one in pictures]


def pixels_of(output: Array) -> Array:
    """[H, W, 3] uint8 of an output [3, H, W]: 0..1, or bytes already."""
    planes = output if output.dtype == np.uint8 else np.rint(np.clip(output, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def luma(picture: Array) -> Array:
    """[H, W] float64, 16..235."""
    try:
        from skimage.color import rgb2ycbcr
    except ImportError as error:
        raise DataError("pictures are compared with scikit-image; pip install 'kd2deploy[vision]'") from error
    return np.asarray(rgb2ycbcr(picture)[..., 0], dtype=np.float64)


def figures_of(restored: Array, target: Array, border: int) -> tuple[float, float]:
    """PSNR in dB and SSIM of pictures [H, W, 3] uint8; what a batch filled up beyond the target is left out."""
    height, width = target.shape[:2]
    inner = np.s_[border : height - border, border : width - border]
    a, b = (luma(one[:height, :width])[inner] for one in (restored, target))
    from skimage import metrics

    of: Any = metrics  # which is annotated in parts
    same = bool(np.array_equal(a, b))
    psnr = MOST_DB if same else min(MOST_DB, float(of.peak_signal_noise_ratio(b, a, data_range=RANGE)))
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = of.structural_similarity(b, a, data_range=RANGE, **gaussian)
    return psnr, float(ssim)


def digest(picture: Array) -> Array:
    """[MARK] uint8: a hash of a picture and its size."""
    whole = hashlib.sha256(f"{picture.shape}".encode() + np.ascontiguousarray(picture).tobytes()).digest()
    return np.frombuffer(whole[:MARK], dtype=np.uint8)


def spread(output: Array) -> Array:
    """[KEPT] float32: values at places evenly over a picture."""
    flat = output.reshape(-1)
    return flat[np.linspace(0, flat.size - 1, KEPT).astype(np.int64)].astype(np.float32)
