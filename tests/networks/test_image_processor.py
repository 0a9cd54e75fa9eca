"""What is read of preprocessor_config.json, against transformers' own image processors on real pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import save_image_net

from kd2deploy.errors import ModelError
from kd2deploy.networks._processor_classes import KINDS, OF_MODELS
from kd2deploy.networks.image_processor import processor, processor_of
from kd2deploy.tasks._images import pixels

SMALL: dict[str, list[dict[str, Any]]] = {
    "ConvNextImageProcessor": [{"size": {"shortest_edge": 64}}, {"size": {"shortest_edge": 400}, "crop_pct": 0.9}],
    "PoolFormerImageProcessor": [
        {"size": {"shortest_edge": 64}, "crop_size": 60},
        {"size": {"height": 64, "width": 64}, "crop_size": 64},
        {"size": {"height": 64, "width": 48}, "do_center_crop": False},
    ],
    "MobileViTImageProcessor": [{"size": {"shortest_edge": 72}, "crop_size": 64}, {"do_flip_channel_order": False}],
    "EfficientNetImageProcessor": [
        {"size": 64, "rescale_offset": True},
        {"size": 64, "rescale_offset": True, "include_top": False, "rescale_factor": 1 / 127.5},
        {"size": 64, "do_normalize": False, "do_center_crop": True, "crop_size": 48},
        {"size": 64, "do_rescale": False, "rescale_offset": True, "include_top": False},
    ],
    "LevitImageProcessor": [{"size": {"shortest_edge": 64}, "crop_size": 64}, {"size": {"height": 64, "width": 70}}],
    "SegformerImageProcessor": [{"size": 64}],
    "ViTImageProcessor": [
        {"size": {"height": 9, "width": 13}},
        {"size": [40, 50], "resample": 0},
        {"size": {"height": 8, "width": 8}, "do_normalize": False},
        {"size": 64, "do_center_crop": True, "crop_size": {"height": 80, "width": 31}},
        {"size": 64, "do_rescale": False},
        {"do_resize": False, "do_center_crop": True, "crop_size": 100},
    ],
    "CLIPImageProcessor": [{"size": 64, "crop_size": 64}, {"size": {"shortest_edge": 64}, "crop_size": [70, 33]}],
}
"""Settings besides the class's own defaults, which are tried for every class that makes pictures of one size."""
OF_DETECTORS = [
    name for name in KINDS if name.endswith(("DetrImageProcessor", "DETRImageProcessor")) or "Yolos" in name
]
SMALL |= {
    name: [{"size": {"height": 40, "width": 56}}, {"size": {"height": 40, "width": 56}, "do_normalize": True}]
    for name in OF_DETECTORS
}
SHAPELESS = [name for name in OF_DETECTORS if not name.startswith("RT")]
"""Those that keep each picture's shape where they are not told otherwise."""
CASES = [(name, said) for name in KINDS for said in [*([] if name in SHAPELESS else [{}]), *SMALL.get(name, [])]]


@pytest.fixture(scope="module")
def photographs() -> list["np.ndarray[Any, Any]"]:
    """Two photographs, one of them upright, the other smaller than some crops."""
    from sklearn.datasets import load_sample_images

    flower, temple = load_sample_images().images
    return [np.ascontiguousarray(flower.transpose(1, 0, 2)), np.ascontiguousarray(temple[:150, :201])]


def library(name: str, said: dict[str, Any]) -> Any:
    import transformers

    return getattr(transformers, f"{name}Pil")(**said)


@pytest.mark.parametrize(("name", "said"), CASES, ids=[f"{name}-{place}" for place, (name, _) in enumerate(CASES)])
def test_pixels_are_those_of_the_library(name: str, said: dict[str, Any], photographs: Any) -> None:
    own = library(name, said)
    for reader in (processor_of({"image_processor_type": name, **said}), processor_of(own.to_dict())):
        mean, std = reader.normalisation(3)
        for photograph in photographs:
            expected = own(Image.fromarray(photograph), return_tensors="np")["pixel_values"][0]
            found = (pixels({"image": photograph}, reader, 3).astype(np.float32) - mean) / std
            assert found.shape == expected.shape == (3, *reader.out)
            # one part in 100,000 of the largest value: float32 rounds a folded mean and deviation otherwise
            np.testing.assert_allclose(found, expected, atol=2e-5 * max(1.0, np.abs(expected).max()))


def test_the_class_of_a_model_type_is_the_librarys() -> None:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    for model_type, name in OF_MODELS.items():
        assert IMAGE_PROCESSOR_MAPPING_NAMES[model_type]["pil"] == f"{name}ImageProcessorPil"
        assert f"{name}ImageProcessor" in KINDS


@pytest.mark.parametrize("name", SHAPELESS)
def test_a_detectors_processor_that_keeps_each_pictures_shape_is_told_what_to_be_given(name: str) -> None:
    with pytest.raises(ModelError, match=r"keeps its own shape.*such as \{height: 640, width: 640\}"):
        processor_of({"image_processor_type": name})
    fixed = {"image_processor_type": name, "size": {"height": 8, "width": 8}}
    with pytest.raises(ModelError, match="pad_size"):
        processor_of({**fixed, "pad_size": {"height": 9, "width": 9}})
    assert processor_of({**fixed, "do_pad": True, "format": "coco_detection"}).out == (8, 8)


@pytest.mark.parametrize(
    "named",
    [
        {"image_processor_type": "MobileViTImageProcessorFast"},
        {"feature_extractor_type": "MobileViTFeatureExtractor"},
        {"image_processor_type": None},
    ],
)
def test_what_the_file_leaves_out_is_what_its_class_does(named: dict[str, Any]) -> None:
    found = processor_of({**named, "size": {"shortest_edge": 32}}, "mobilevit")
    assert (found.flip, found.crop, found.shortest_edge, found.mean, found.std) == (
        True,
        (256, 256),
        32,
        (0.0,),
        (255.0,),
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"do_flip_channel_order": True}, "do_flip_channel_order: true, which ViTImageProcessor does not do"),
        ({"do_pad": True}, "do_pad"),
        ({"rescale_offset": True}, "rescale_offset"),
        ({"include_top": True}, "include_top"),
        ({"crop_pct": 0.9}, "crop_pct"),
        ({"do_thumbnail": True}, "do_thumbnail"),
        ({"do_align_long_axis": True, "do_resize": True}, "do_align_long_axis"),
        ({"image_processor_type": "MobileViTImageProcessor", "do_normalize": True}, "do_normalize"),
        ({"image_processor_type": "SegformerImageProcessor", "do_center_crop": True}, "do_center_crop"),
        ({"image_processor_type": "DonutImageProcessor"}, "'DonutImageProcessor', which is none of"),
        ({"image_processor_type": ["list"]}, "none of the image processors"),
        ({"size": {"longest_edge": 8}}, "understood"),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "understood"),
        ({"size": "224"}, "understood"),
        ({"size": True}, "understood"),
        ({"size": {"height": -1, "width": 8}}, "size.height -1; a whole number from 1"),
        ({"size": {"height": 8.5, "width": 8}}, "size.height"),
        ({"size": 10**9}, "from 1 to 8192"),
        ({"size": [1, 2, 3]}, "understood"),
        ({"resample": "bicubic"}, "resample 'bicubic'"),
        ({"resample": 6}, "resample 6"),
        ({"do_resize": "yes"}, "do_resize 'yes'; true and false"),
        ({"do_normalize": 1}, "do_normalize"),
        ({"rescale_factor": 0}, "rescale_factor 0; a number above zero"),
        ({"rescale_factor": "1/255"}, "rescale_factor"),
        ({"image_mean": "half"}, "image_mean 'half'"),
        ({"image_mean": [0.5, None, 0.5]}, "image_mean None"),
        ({"image_mean": float("nan")}, "image_mean nan"),
        ({"image_std": [0.5, 0.0, 0.5]}, "image_std 0.0; a number above zero"),
        ({"image_std": []}, "image_std"),
        ({"do_center_crop": True}, "no crop_size"),
        ({"do_center_crop": True, "crop_size": {"shortest_edge": 3}}, "no crop_size"),
        ({"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0}, "crop_pct 0"),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"height": 8, "width": 8}}, "shortest_edge"),
    ],
)
def test_what_is_on_and_not_done_or_not_understood_is_refused_by_name(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        processor_of({"image_processor_type": "ViTImageProcessor", **said})
    assert "\n" not in str(caught.value)


def test_fields_that_change_no_picture_may_be_there() -> None:
    said = {"do_pad": False, "do_reduce_labels": True, "do_convert_rgb": True, "do_flip_channel_order": None}
    assert processor_of({"image_processor_type": "ViTImageProcessor", **said, "processor_class": "CLIPProcessor"})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe{}", b"[" * 200_000, b'{"image_processor_type": "\\ud800"}'],
)
def test_a_file_that_is_no_object_is_refused_in_a_line(content: bytes, tmp_path: Path) -> None:
    save_image_net(tmp_path, "resnet")
    (tmp_path / "preprocessor_config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"preprocessor_config\.json") as caught:
        processor(tmp_path)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()


def test_a_size_that_depends_on_the_picture_is_refused() -> None:
    with pytest.raises(ModelError, match="fixes no output size"):
        _ = processor_of({"image_processor_type": "SiglipImageProcessor", "size": {"shortest_edge": 8}}).out


def test_the_model_type_decides_where_no_class_is_named(tmp_path: Path) -> None:
    save_image_net(tmp_path, "mobilenet_v2")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5], "image_std": [0.5]}))
    assert processor(tmp_path).crop == (224, 224)
