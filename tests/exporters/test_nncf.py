"""OpenVINO's own quantizer on texts and pictures."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Case

from kd2deploy.core import Artifact, open_session
from kd2deploy.core.convert import traits_of
from kd2deploy.errors import ConvertError
from kd2deploy.exporters.nncf import Nncf, nncf_from_onnx, quantizable, rank_sensitivity
from kd2deploy.exporters.onnx.checking import run_all
from kd2deploy.exporters.openvino import MODEL, read_plain


@pytest.fixture(scope="module")
def converted(text: Case, plain: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return nncf_from_onnx(plain, text.task, text.target, tmp_path_factory.mktemp("nncf"), text.samples)


def test_a_text_network_is_smaller_and_answers_nearly_alike(text: Case, plain: Artifact, converted: Artifact) -> None:
    expected = run_all(plain.path, text.task, text.target, text.samples)
    with open_session(converted, text.task.ports, text.target) as session:
        assert session.describe()["precision"] == "int8"
        for feed, outputs in zip(text.samples, expected, strict=True):
            np.testing.assert_allclose(session.run(feed)["logits"], outputs["logits"], atol=0.1)
    assert (converted.path / "openvino_model.bin").stat().st_size < plain.path.stat().st_size / 2
    assert converted.details["calibrated_on"] == len(text.samples)
    assert converted.details["agreement"]["top1"] == 1


def test_convolutions_are_quantized_too(image: Case, plain_image: Artifact, tmp_path: Path) -> None:
    found = nncf_from_onnx(plain_image, image.task, image.target, tmp_path, image.samples)
    with open_session(found, image.task.ports, image.target) as session:
        assert np.isfinite(session.run(image.samples[0])["logits"]).all()
    assert len(found.details["quantized"]) > 4


def test_what_is_excluded_stays_in_floating_point(text: Case, plain: Artifact, tmp_path: Path) -> None:
    names = quantizable(read_plain(plain))
    options = Nncf(exclude=names[:-1])
    found = nncf_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=options)
    assert found.details["quantized"] == names[-1:]
    rounded = (tmp_path / MODEL).read_text().count('type="FakeQuantize"')
    (tmp_path / "all").mkdir()
    nncf_from_onnx(plain, text.task, text.target, tmp_path / "all", text.samples)
    assert rounded < (tmp_path / "all" / MODEL).read_text().count('type="FakeQuantize"')


def test_an_operation_that_is_not_there_cannot_be_excluded(text: Case, plain: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=r"exclude names .*nowhere.*which are not quantizable; those that are"):
        nncf_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Nncf(exclude=["nowhere"]))


def test_nothing_left_to_quantize_is_refused(text: Case, plain: Artifact, tmp_path: Path) -> None:
    options = Nncf(exclude=quantizable(read_plain(plain)))
    with pytest.raises(ConvertError, match="no operation is left to quantize"):
        nncf_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=options)


def test_every_operation_is_ranked_by_the_damage_it_does(text: Case, plain: Artifact) -> None:
    assert traits_of(nncf_from_onnx).ranked_by is rank_sensitivity
    found = rank_sensitivity(plain, text.task, text.target, text.samples[:2])
    assert sorted(name for name, _ in found) == sorted(quantizable(read_plain(plain)))
    damages = [damage for _, damage in found]
    assert damages == sorted(damages, reverse=True)
    assert damages[0] > 0


def test_it_prints_nothing(text: Case, plain: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    nncf_from_onnx(plain, text.task, text.target, tmp_path, text.samples)
    assert capfd.readouterr() == ("", "")


def test_graphs_of_other_runtimes_are_refused(text: Case, fused: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=r"com\.microsoft"):
        nncf_from_onnx(fused, text.task, text.target, tmp_path, text.samples)
