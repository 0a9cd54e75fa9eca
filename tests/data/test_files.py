import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kd2deploy.data.files import column_names, files, read
from kd2deploy.data.prepare import prepare
from kd2deploy.errors import DataError
from kd2deploy.tasks.text_classification import TextClassification

ROWS: list[dict[str, Any]] = [
    {"sentence": 'a "good" film,\nin two lines', "class": "pos"},
    {"sentence": "ünïcode — 日本", "class": "neg"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    import csv

    if path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_format_gives_the_same_rows(ending: str, tmp_path: Path) -> None:
    file = write(tmp_path / f"data.{ending}", ROWS)
    found = files(file, file, text="sentence", label="class")
    assert [(row["text"], row["label"]) for row in found.train] == [(row["sentence"], row["class"]) for row in ROWS]
    assert found.eval == found.train
    assert found.name("train") == file
    assert found.validation is None


# a csv file of the standard library reads a lone carriage return as a line's end
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1)


@given(st.lists(st.tuples(TEXTS, st.integers()), min_size=1, max_size=5))
def test_any_text_survives_a_csv(rows: list[tuple[str, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "data.csv", [{"text": text, "label": label} for text, label in rows])
        assert [(row["text"], row["label"]) for row in read(Path(file), [])] == [
            (text, str(label)) for text, label in rows
        ]


def test_splits_and_unlabelled_rows(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", ROWS)
    free = write(tmp_path / "free.csv", [{"sentence": "more"}])
    found = files(train, train, validation=train, unlabelled=free, text="sentence", label="class")
    assert found.unlabelled == [{"text": "more"}]
    assert found.validation == found.train
    assert "free.csv" in found.about


def test_unknown_column_suggests_the_nearest(tmp_path: Path) -> None:
    file = write(tmp_path / "data.csv", ROWS)
    with pytest.raises(DataError, match=r"no column 'sentense' to read `text` from; did you mean 'sentence'\?"):
        files(file, file, text="sentense")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "text,label\nx,1\ny,2,3\n", "line 3: 3 fields where the header has 2"),
        ("a.csv", "text,text\nx,1\n", "names a column twice"),
        ("a.csv", 'text,label\n"x,1\n', "line 2: the quotation mark opened here is never closed"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.csv", "", "no rows"),
        ("a.jsonl", '{"text": 1}\n{oops\n', "line 2 is not JSON"),
        ("a.jsonl", "[1]\n", "line 1 is not an object"),
        ("a.parquet", "no parquet", "not a parquet file"),
        ("a.xlsx", "", "files are read as .csv"),
    ],
)
def test_broken_files_are_refused_by_line(name: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words):
        files(str(tmp_path / name), str(tmp_path / name))


def test_absent_and_wrongly_encoded_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere.csv", [])
    (tmp_path / "latin.csv").write_bytes("text\nmüde\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read(tmp_path / "latin.csv", [])


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nx,1\n", encoding="utf-8-sig")
    assert read(tmp_path / "a.csv", []) == [{"text": "x", "label": "1"}]


def test_folder_of_pictures_is_labelled_by_its_folders(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / name / "one.png")
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    found = files(str(tmp_path), str(tmp_path)).train
    assert [(Path(row["image"]).name, row["label"]) for row in found] == [("one.png", "cat"), ("one.png", "dog")]
    free = files(str(tmp_path), str(tmp_path), unlabelled=str(tmp_path / "cat")).unlabelled
    assert free is not None
    assert [set(row) for row in free] == [{"image"}]


def test_picture_paths_are_read_from_the_files_own_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "data.csv", [{"file": "pictures/one.png", "label": "a"}])
    assert files(file, file, image="file").train[0]["image"] == str(tmp_path / "pictures" / "one.png")


def test_a_key_that_a_json_line_lacks_is_an_empty_field(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    for lines in ('{"sentence": "good", "y": 1}\n{"y": 0}\n', '{"y": 0}\n{"sentence": "good", "y": 1}\n'):
        file.write_text(lines)
        found = files(str(file), str(file), text="sentence", label="y").train
        assert sorted(str(row["text"]) for row in found) == ["None", "good"]
    with pytest.raises(DataError, match=r"m\.jsonl: row 1 has no text; fill it in or set `missing: drop`"):
        prepare(files(str(file), str(file), text="sentence", label="y"), TextClassification, {})
    assert column_names(file) == ["y", "sentence"]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_only_an_empty_field_is_missing(ending: str, tmp_path: Path) -> None:
    import pandas

    file = tmp_path / f"nul.{ending}"
    texts: list[Any] = ["null", "NA", "None", "nan", float("nan"), "fine"]
    table = pandas.DataFrame({"text": texts, "label": [0, 1, 0, 1, 0, float("nan")]})
    if ending == "csv":
        table.to_csv(file, index=False)
    elif ending == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")))
        assert "NaN" in file.read_text()
    else:
        table.to_parquet(file)
    found = files(str(file), str(file))
    with pytest.raises(DataError, match=r"row 5 has no text"):
        prepare(found, TextClassification, {})
    splits = prepare(found, TextClassification, {}, missing="drop")
    assert [row["text"] for row in splits.eval] == ["null", "NA", "None", "nan"]
    assert splits.labels in (("0", "1"), ("0.0", "1.0"))


def test_separator_and_quoting_are_the_sources_own_options(tmp_path: Path) -> None:
    file = tmp_path / "data.tsv"
    file.write_text('text|label\n"a|1\nb"|0\n')
    found = files(str(file), str(file), separator="|", quoting="none")
    assert [row["text"] for row in found.train] == ['"a', 'b"']
    assert found.warnings == ()
    (tmp_path / "semi.csv").write_text("text;label\na;1\n")
    assert "separated by ';'" in files(str(tmp_path / "semi.csv"), str(file), quoting="none").warnings[0]
    (tmp_path / "excel.jsonl").write_bytes('{"text": "a"}\n'.encode("utf-16"))
    assert read(tmp_path / "excel.jsonl", []) == [{"text": "a"}]
