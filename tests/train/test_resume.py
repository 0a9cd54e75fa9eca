"""A checkpoint is whole or it is not there."""

from kd2deploy.train.resume import is_whole, last_whole, mark_whole, remove


def checkpoint(folder, step, *, marked=True):
    place = folder / f"checkpoint-{step}"
    (place / "inner").mkdir(parents=True)
    (place / "inner" / "weights").write_bytes(b"12345")
    if marked:
        mark_whole(place)
    return place


def test_the_newest_whole_one_is_found_by_its_step_and_not_by_its_name(tmp_path):
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 11, marked=False)
    assert last_whole(tmp_path) == newest


def test_a_file_cut_short_or_missing_is_seen(tmp_path):
    cut, missing = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    (cut / "inner" / "weights").write_bytes(b"123")
    (missing / "inner" / "weights").unlink()
    assert not is_whole(cut)
    assert not is_whole(missing)
    assert last_whole(tmp_path) is None


def test_what_is_removed_is_gone(tmp_path):
    place = checkpoint(tmp_path, 1)
    remove(place)
    assert not place.exists()
