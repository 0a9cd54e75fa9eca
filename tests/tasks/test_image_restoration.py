"""Pictures to restore: how rows are read, networks run, and answers scored."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_restoration import drawn_picture, made_rows, restorer, saved, small_task, swin

from kd2deploy.core import Draw, Selection, build_task
from kd2deploy.core.rows import read_rows, write_rows
from kd2deploy.errors import DataError, ModelError
from kd2deploy.tasks._degrading import Degradation, Part
from kd2deploy.tasks._patches import Patches, PictureRows
from kd2deploy.tasks._picture_pairs import size_of
from kd2deploy.tasks._tiles import in_tiles, tile_code
from kd2deploy.tasks.image_restoration import ImageRestoration

NOWHERE = Path("nowhere")


# inputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4])
def test_a_part_of_an_input_is_cut_out_of_the_whole_input(scale: int) -> None:
    clean = Image.fromarray(drawn_picture(83, 67))
    how, draws = Degradation(scale), np.random.default_rng(0)
    whole = how.applied(clean, how.whole(clean), draws)
    assert whole.shape == (83 // scale, 67 // scale, 3)
    part = how.applied(clean, Part(3, 5, 8, 9), draws)
    assert np.abs(part.astype(int) - whole[5:14, 3:11].astype(int)).max() <= 1, "but for one rounding"


def test_noise_depends_on_the_draw_alone_and_has_the_deviation_that_is_named() -> None:
    clean = Image.fromarray(np.full((64, 64, 3), 128, dtype=np.uint8))
    how = Degradation(1, 25)
    one, same, other = (how.applied(clean, how.whole(clean), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.std() == pytest.approx(25, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scale": 5}, "scale is one of 1, 2, 3, 4, 8"),
        ({"noise": -1}, "noise is a standard deviation"),
        ({"metric": "lpips"}, "metric is one of psnr, ssim"),
    ],
)
def test_a_task_that_cannot_be_is_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ImageRestoration(**arguments)  # type: ignore[arg-type]


def test_whole_rows_are_read_alike_each_time_and_targets_are_as_many_times_as_large() -> None:
    rows = made_rows(2, height=41, width=47)
    read = PictureRows(rows, Degradation(2, 10))
    one, again = read[1], read[1]
    assert one["pixel_values"].shape == (3, 20, 23)
    assert one["labels"].shape == (3, 40, 46)
    assert one["pixel_values"].dtype == np.uint8
    assert np.array_equal(one["pixel_values"], again["pixel_values"])


def test_patches_of_a_row_belong_together_and_are_other_ones_in_every_epoch() -> None:
    clean = drawn_picture(64, 64)
    read, how = PictureRows([{"image": clean, "label": clean, "index": 0}], Degradation(2)), Patches(patch=12)
    drawn = [read.drawn(0, how, Draw(7, epoch, 0)) for epoch in range(6)]
    for one in drawn:
        assert one["pixel_values"].shape == (3, 12, 12)
        assert one["labels"].shape == (3, 24, 24)
        small = Image.fromarray(one["labels"].transpose(1, 2, 0)).resize((12, 12), Image.Resampling.BICUBIC)
        inside = np.s_[:, 3:-3, 3:-3]  # the filter reads beyond the patch
        apart = np.asarray(small).transpose(2, 0, 1)[inside].astype(int) - one["pixel_values"][inside]
        assert np.abs(apart).max() <= 1
    assert len({one["labels"].tobytes() for one in drawn}) > 3
    assert np.array_equal(read.drawn(0, how, Draw(7, 2, 0))["labels"], drawn[2]["labels"])


def test_a_row_without_a_target_is_an_input_and_learns_from_a_teacher_alone() -> None:
    rows = [*made_rows(1), {"image": drawn_picture(20, 24, 9), "label": None, "index": 1}]
    task = small_task()
    features = task.reader.encode(rows, NOWHERE)
    assert "labels" not in features[1]
    batch = task.reader.collate(list(features))
    assert batch["labels"][0].isfinite().all()
    assert batch["labels"][1].isnan().all()
    seen = task.networks.observe(restorer(), batch)
    alone = task.networks.observe(restorer(), task.reader.collate(features[:1]))
    assert seen.loss is not None
    torch.testing.assert_close(seen.loss, alone.loss)
    nothing = task.networks.observe(restorer(), task.reader.collate(features[1:])).loss
    assert nothing is not None
    assert nothing.item() == 0


def test_rows_that_were_written_and_read_back_are_made_as_before(tmp_path: Path) -> None:
    """A pack copies each field's file, and arrays come back as two."""
    Image.fromarray(drawn_picture()).save(tmp_path / "clean.png")
    file = tmp_path / "clean.png"
    rows = [{"image": file, "label": file, "index": 0}, {**made_rows(1)[0], "index": 1}]
    for copies in (True, False):
        folder = tmp_path / f"rows-{copies}"
        write_rows(rows, folder, copies=copies)
        again = read_rows(folder, copies=copies)
        assert (again[0]["image"] != again[0]["label"]) == copies
        for one, other in zip(
            small_task().reader.encode(rows, tmp_path), PictureRows(again, Degradation(2)), strict=True
        ):
            assert np.array_equal(one["pixel_values"], other["pixel_values"])


def test_pairs_of_files_are_read_as_they_are(tmp_path: Path) -> None:
    clean, given = drawn_picture(40, 48), drawn_picture(20, 24, 1)
    Image.fromarray(clean).save(tmp_path / "clean.png")
    Image.fromarray(given).save(tmp_path / "given.png")
    row = {"image": tmp_path / "given.png", "label": tmp_path / "clean.png", "index": 0}
    (read,) = small_task().reader.encode([row], tmp_path)
    assert np.array_equal(read["pixel_values"], given.transpose(2, 0, 1))
    assert np.array_equal(read["labels"], clean.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("row", "task", "said"),
    [
        ({"image": drawn_picture(20, 20), "label": drawn_picture(40, 48)}, {"scale": 2}, "not 2 times as many a side"),
        ({"image": drawn_picture(), "label": drawn_picture()}, {"scale": 1}, "nothing is done to it"),
    ],
)
def test_rows_whose_pictures_do_not_belong_together_are_refused_when_they_are_read(
    row: dict[str, object], task: dict[str, int], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        ImageRestoration(**task).reader.encode([{**row, "index": 3}], NOWHERE)  # type: ignore[arg-type]


def test_a_picture_smaller_than_a_patch_is_named_with_the_remedy() -> None:
    read = PictureRows(made_rows(1, height=40, width=48), Degradation(2))
    read.check(Patches(patch=20))
    said = r"1 input of a training smaller than a patch of 48, row 0 with 24 x 20 pixels; set `augment: \{patch: 20\}`"
    with pytest.raises(DataError, match=said):
        Selection(read).check(Patches())
    Selection(read, []).check(Patches())


def test_odd_pictures_are_read_as_said_or_refused(tmp_path: Path) -> None:
    reads = small_task().reader
    grey = Image.fromarray(drawn_picture()[..., 0])
    grey.save(tmp_path / "grey.png")
    Image.fromarray(drawn_picture()[..., 0].astype(np.uint16) << 8).save(tmp_path / "deep.png")
    for name in ("grey.png", "deep.png"):
        assert reads.flaw(tmp_path / name) == reads.target_flaw(tmp_path / name) == ""
        (read,) = small_task(1, noise=5.0).reader.encode(
            [{"image": tmp_path / name, "label": tmp_path / name, "index": 0}], tmp_path
        )
        assert np.array_equal(read["labels"][0], np.asarray(grey))
        assert np.array_equal(read["labels"][0], read["labels"][2])
    opaque, clear = Image.fromarray(drawn_picture()).convert("RGBA"), Image.new("RGBA", (40, 40), (1, 2, 3, 9))
    assert reads.target_flaw(opaque) == ""
    assert "transparent in places" in reads.target_flaw(clear)
    assert "too few: the shorter side needs 32" in reads.target_flaw(drawn_picture(31, 80))
    (tmp_path / "cut.png").write_bytes((tmp_path / "grey.png").read_bytes()[:200])
    assert "cut.png" in reads.flaw(tmp_path / "cut.png")


def test_a_picture_on_its_side_has_the_size_that_it_is_shown_with(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(drawn_picture(40, 64)).save(tmp_path / "phone.jpg", exif=tags)
    assert size_of(tmp_path / "phone.jpg") == (40, 64)
    (read,) = small_task().reader.encode(
        [{"image": tmp_path / "phone.jpg", "label": tmp_path / "phone.jpg", "index": 0}], tmp_path
    )
    assert read["labels"].shape == (3, 64, 40)


def test_a_request_is_the_degraded_picture_in_a_file_of_its_own(tmp_path: Path) -> None:
    reader = small_task(2, noise=10.0).reader
    (row,) = made_rows(1)
    sent = reader.sent(row, tmp_path / "000000")
    assert sent["label"] is None
    assert sent["image"] == tmp_path / "000000.png"
    fed = reader.preparing(tmp_path)([sent])["pixel_values"]
    np.testing.assert_array_equal(fed, reader.feed(reader.encode([row], tmp_path)[:])["pixel_values"])


def test_pictures_of_two_sizes_are_filled_up_with_what_stands_at_the_edge() -> None:
    rows = [made_rows(1, 40, 48)[0], made_rows(1, 48, 40)[0]]
    reader = small_task().reader
    fed = reader.feed(list(reader.encode(rows, NOWHERE)))["pixel_values"]
    assert fed.shape == (2, 3, 24, 24)
    np.testing.assert_array_equal(fed[0, :, 20:], np.repeat(fed[0, :, 19:20], 4, axis=1))
    assert 0 <= fed.min() <= fed.max() <= 1


# networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [restorer, swin])
def test_a_network_answers_a_picture_of_any_size_and_shows_what_was_asked_for(make: object, tmp_path: Path) -> None:
    task = small_task()
    net = task.networks.load(saved(make(), tmp_path))  # type: ignore[operator]
    batch = {"pixel_values": torch.rand(2, 3, 13, 18)}
    assert task.networks.observe(net, batch).values.shape == (2, 3, 26, 36)  # type: ignore[union-attr]
    whole = {"pixel_values": torch.rand(2, 3, 16, 12)}
    seen = task.networks.observe(net, whole, needs=frozenset({"hidden", "embedding"}))
    assert all(one.shape[:2] == (2, 16 * 12) for one in seen.hidden)
    assert seen.embedding is not None
    torch.testing.assert_close(seen.embedding, seen.hidden[-1].mean(1))
    assert task.networks.observe(net, whole).hidden == ()
    (answer,) = task.networks.deployed(net)(whole["pixel_values"])
    assert 0 <= answer.min() <= answer.max() <= 1
    assert isinstance(task.networks.head(net), torch.nn.Module)


def test_what_is_filled_up_for_windows_changes_nothing_where_windows_are_whole() -> None:
    net, pixels = swin(), torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = net(pixel_values=pixels).reconstruction
        found = small_task().networks.observe(net, {"pixel_values": pixels}).values
    torch.testing.assert_close(found, plain)


def test_our_network_begins_at_interpolation_and_a_picture_that_keeps_its_size_at_itself() -> None:
    from kd2deploy.networks.restorer import RestorerConfig, RestorerForImageToImage

    pixels = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for times in (1, 4):
        torch.manual_seed(0)
        net = RestorerForImageToImage(RestorerConfig(channels=8, blocks=1, upscale=times))
        base = (
            torch.nn.functional.interpolate(pixels, scale_factor=float(times), mode="bicubic") if times > 1 else pixels
        )
        found = net(pixel_values=pixels).reconstruction
        torch.testing.assert_close(found, base)


def test_networks_of_another_scale_are_refused(tmp_path: Path) -> None:
    folder = saved(restorer(upscale=4), tmp_path)
    with pytest.raises(ModelError, match=r"enlarges 4 times, and the task 2 times; set `scale: 4`"):
        small_task().networks.load(folder)
    with pytest.raises(ModelError, match="enlarges 4 times"):
        small_task().networks.check_pair(folder, folder)


def test_a_network_that_reads_pictures_otherwise_is_refused(tmp_path: Path) -> None:
    folder = saved(swin(), tmp_path)
    small_task().reader.check_inputs(folder)
    file = folder / "preprocessor_config.json"
    said = json.loads(file.read_text())
    assert said["do_pad"] is True
    assert said["size_divisor"] == 4
    for change, reason in (
        ({"do_normalize": True}, "sets do_normalize"),
        ({"rescale_factor": 1.0}, "divide bytes by 255"),
    ):
        file.write_text(json.dumps({**said, **change}))
        with pytest.raises(ModelError, match=reason):
            small_task().reader.check_inputs(folder)


# scores ---------------------------------------------------------------------------------------------------------


def test_psnr_and_ssim_are_of_luma_inside_the_border() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    target = drawn_picture(40, 48)
    answer = target.copy()
    answer[:2], answer[:, -2:] = 0, 0  # the border of a picture enlarged twice
    task = small_task()
    row = {"image": target, "label": target, "index": 0}
    found = task.metric.score({"reconstruction": np.stack([answer.transpose(2, 0, 1)])}, [row])
    assert found.metrics["psnr"] == 100.0
    assert found.metrics["ssim"] == pytest.approx(1)
    answer = np.clip(target.astype(int) + 4, 0, 255).astype(np.uint8)
    weights = np.array([65.481, 128.553, 24.966]) / 255  # BT.601
    apart = ((answer.astype(float) - target) @ weights)[2:-2, 2:-2]
    expected = 10 * np.log10(255**2 / np.square(apart).mean())
    for output in (answer.transpose(2, 0, 1), answer.transpose(2, 0, 1).astype(np.float32) / 255):
        scored = task.metric.score({"reconstruction": output[None]}, [row])
        assert scored.metrics["psnr"] == pytest.approx(expected, abs=1e-6)


def test_a_bootstrap_computes_the_mean_of_the_pictures_it_draws() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    rows, task = made_rows(3), small_task()
    worse = [np.clip(row["label"].astype(int) + 3 * (place + 1), 0, 255) for place, row in enumerate(rows)]
    outputs = {"reconstruction": np.stack([one.astype(np.uint8).transpose(2, 0, 1) for one in worse])}
    statistics = task.metric.statistics(outputs, rows)
    assert task.metric.at(statistics, np.array([0, 0, 2])) == pytest.approx(statistics["psnr"][[0, 0, 2]].mean())
    assert statistics["psnr"][0] > statistics["psnr"][1] > statistics["psnr"][2]
    assert task.metric.score(outputs, rows).examples == task.metric.score(outputs, rows).examples
    assert task.metric.score(outputs, rows).examples != task.metric.score(outputs, rows[::-1]).examples


def test_an_output_that_was_filled_up_is_cut_to_its_target() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    (row,) = made_rows(1, 40, 48)
    whole = np.pad(row["label"].transpose(2, 0, 1), ((0, 0), (0, 8), (0, 4)))
    assert small_task().metric.score({"reconstruction": whole[None]}, [row]).metrics["psnr"] == 100.0


def test_agreement_tells_a_copy_from_another_picture() -> None:
    metric = small_task().metric
    one = {"reconstruction": np.random.default_rng(0).random((2, 3, 30, 20), dtype=np.float32)}
    near = {"reconstruction": one["reconstruction"] + np.float32(1e-3)}
    other = {"reconstruction": np.random.default_rng(1).random((2, 3, 30, 20), dtype=np.float32)}
    assert metric.alike(one, one) == {"cosine": pytest.approx(1), "psnr_between": pytest.approx(100)}
    assert metric.alike(one, near)["psnr_between"] == pytest.approx(60, abs=0.1)
    assert metric.alike(one, other)["cosine"] < 0.2


def test_the_floor_is_bicubic_interpolation_and_of_a_noisy_picture_itself() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    rows = [*made_rows(2), made_rows(1, 44, 60)[0]]
    for task, name in ((small_task(), "bicubic interpolation"), (small_task(1, noise=25.0), "the picture as it is")):
        ((told, outputs),) = task.floors(rows, rows, NOWHERE).items()
        assert told.startswith(name)
        assert [one.shape[1:] for one in outputs["reconstruction"]] == [(40, 48), (40, 48), (44, 60)]
        part = {port: found[1:] for port, found in outputs.items()}
        assert 10 < task.metric.score(part, rows[1:]).metrics["psnr"] < 45


def test_an_answer_is_the_picture() -> None:
    picture = drawn_picture(40, 48)
    (told,) = small_task().metric.answer({"reconstruction": picture.transpose(2, 0, 1)[None]})
    assert (told["width"], told["height"]) == (48, 40)
    import base64

    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(told["png"])))), picture)


# tiles, and what a bundle says ----------------------------------------------------------------------------------


def test_tiles_with_a_margin_as_wide_as_the_network_looks_are_the_whole_picture() -> None:
    net, task = restorer(channels=4, blocks=1), small_task()

    def run(picture: "np.ndarray") -> "np.ndarray":  # type: ignore[type-arg]
        with torch.no_grad():
            return task.networks.deployed(net)(torch.from_numpy(np.ascontiguousarray(picture)))[0].numpy()

    picture = np.random.default_rng(0).random((1, 3, 37, 50), dtype=np.float32)
    whole = run(picture)
    # stem, two of a block, merge and tail look one pixel each, the interpolation two
    np.testing.assert_allclose(in_tiles(run, picture, 2, tile=16, margin=8), whole, atol=1e-6)
    assert np.abs(in_tiles(run, picture, 2, tile=16, margin=0) - whole).max() > 1e-4


def test_the_code_of_the_card_is_the_function_that_is_tested() -> None:
    space: dict[str, object] = {}
    exec(compile(tile_code(), "card", "exec"), space)
    picture = np.random.default_rng(0).random((1, 3, 20, 30), dtype=np.float32)
    doubled = space["in_tiles"](lambda part: part.repeat(2, -1).repeat(2, -2), picture, 2, tile=8, margin=2)  # type: ignore[operator]
    np.testing.assert_array_equal(doubled, picture.repeat(2, -1).repeat(2, -2))
    compile(small_task().snippet("def run(feed):\n    return feed\n", NOWHERE), "card", "exec")


def test_the_task_is_rebuilt_from_its_spec() -> None:
    task = ImageRestoration(scale=4, noise=3.0, metric="ssim")
    again = build_task(task.spec())
    assert again.spec() == task.spec()
    assert (again.metric.name, again.metric.suffix) == ("ssim", "")
