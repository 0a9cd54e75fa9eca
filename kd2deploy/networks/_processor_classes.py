"""The image processors of transformers that are understood: what each does where its file says nothing.

A preprocessor_config.json often says little, and the class that it names fills in the rest. The values are those of
transformers 5; tests hold them against the installed ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NEAREST, LANCZOS, BILINEAR, BICUBIC, BOX, HAMMING = range(6)
"""Pillow's numbers of its filters."""
HALF = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
COMMON: Mapping[str, Any] = {
    "do_resize": True,
    "resample": BICUBIC,
    "do_center_crop": False,
    "crop_size": None,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": HALF,
    "image_std": HALF,
}


@dataclass(frozen=True)
class Kind:
    """One class of image processors."""

    size: Any
    """Where the file names none."""
    differs: Mapping[str, Any] = field(default_factory=dict)
    """Where its values are not the common ones, and its own fields with theirs."""
    square: bool = True
    """Whether a `size` of one number is a square; else it is the shorter side."""
    ignores: frozenset[str] = frozenset()
    """Common flags that the class knows and passes over, whatever the file says."""

    @property
    def defaults(self) -> dict[str, Any]:
        return {**COMMON, "size": self.size, **self.differs}


IMAGENET: Mapping[str, Any] = {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
CLIP: Mapping[str, Any] = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD}
CROPPED: Mapping[str, Any] = {"do_center_crop": True, "crop_size": 224}
DETECTOR: Mapping[str, Any] = {"resample": BILINEAR, "do_pad": True, "do_convert_annotations": True}
"""Annotations are not the processor's here, and where all pictures are of one size there is nothing to pad."""
OF_DETECTORS = Kind({"shortest_edge": 800, "longest_edge": 1333}, {**IMAGENET, **DETECTOR})
KINDS: Mapping[str, Kind] = {
    "BeitImageProcessor": Kind(224, {"crop_size": 224}),
    "BitImageProcessor": Kind(224, {**CLIP, **CROPPED}, square=False),
    "CLIPImageProcessor": Kind(224, {**CLIP, **CROPPED}, square=False),
    "ConditionalDetrImageProcessor": OF_DETECTORS,
    "ConvNextImageProcessor": Kind(384, {"crop_pct": 224 / 256}, square=False),
    "DeformableDetrImageProcessor": OF_DETECTORS,
    "DeiTImageProcessor": Kind(256, CROPPED),
    "DetrImageProcessor": OF_DETECTORS,
    "EfficientNetImageProcessor": Kind(346, {"crop_size": 289, "rescale_offset": False, "include_top": True}),
    "LevitImageProcessor": Kind(224, {**IMAGENET, **CROPPED}, square=False),
    "MobileNetV1ImageProcessor": Kind(256, {**CROPPED, "resample": BILINEAR}, square=False),
    "MobileNetV2ImageProcessor": Kind(256, {**CROPPED, "resample": BILINEAR}, square=False),
    "MobileViTImageProcessor": Kind(
        224,
        {"do_center_crop": True, "crop_size": 256, "do_normalize": False, "do_flip_channel_order": True},
        square=False,
        ignores=frozenset({"do_normalize"}),
    ),
    "PoolFormerImageProcessor": Kind(224, {**IMAGENET, **CROPPED, "crop_pct": 0.9}, square=False),
    "PvtImageProcessor": Kind(224, IMAGENET),
    "RTDetrImageProcessor": Kind(
        {"height": 640, "width": 640}, {**IMAGENET, **DETECTOR, "do_normalize": False, "do_pad": False}
    ),
    "SegformerImageProcessor": Kind(
        512, {**IMAGENET, "resample": BILINEAR}, ignores=frozenset({"do_center_crop", "crop_size"})
    ),
    "SiglipImageProcessor": Kind({"height": 224, "width": 224}, square=False),
    "ViTImageProcessor": Kind(224, {"resample": BILINEAR}),
    "YolosImageProcessor": OF_DETECTORS,
}
OF_MODELS: Mapping[str, str] = {
    "beit": "Beit",
    "bit": "Bit",
    "clip": "CLIP",
    "conditional_detr": "ConditionalDetr",
    "convnext": "ConvNext",
    "convnextv2": "ConvNext",
    "cvt": "ConvNext",
    "data2vec-vision": "Beit",
    "deformable_detr": "DeformableDetr",
    "deit": "DeiT",
    "detr": "Detr",
    "dinat": "ViT",
    "dinov2": "Bit",
    "efficientnet": "EfficientNet",
    "focalnet": "Bit",
    "hiera": "Bit",
    "ijepa": "ViT",
    "levit": "Levit",
    "metaclip_2": "CLIP",
    "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2",
    "mobilevit": "MobileViT",
    "mobilevitv2": "MobileViT",
    "poolformer": "PoolFormer",
    "pvt": "Pvt",
    "pvt_v2": "Pvt",
    "regnet": "ConvNext",
    "resnet": "ConvNext",
    "rt_detr": "RTDetr",
    "segformer": "Segformer",
    "siglip": "Siglip",
    "swiftformer": "ViT",
    "swin": "ViT",
    "swinv2": "ViT",
    "vit": "ViT",
    "vit_msn": "ViT",
    "yolos": "Yolos",
}
"""Which class transformers takes for a model type whose file names none."""
