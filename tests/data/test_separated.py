"""Separated values: every way of quoting, and no row that swallows another without a word."""

import csv
import io
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.data._separated import Quoting, header_of, separated
from kd2deploy.errors import DataError

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
ON_A_LINE = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\t")
TABLES = st.lists(st.tuples(st.text(CHARACTERS, min_size=1), st.text(CHARACTERS, min_size=1)), min_size=1, max_size=6)
PLAIN = st.lists(st.tuples(st.text(ON_A_LINE, min_size=1), st.text(ON_A_LINE, min_size=1)), min_size=1, max_size=6)
HEADER = ("text", "label")


def read(name: str, content: str | bytes, **given: Any) -> tuple[list[tuple[str | None, ...]], list[str]]:
    """The rows' values and the notes of a file with that content."""
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        rows = separated(file, notes, **given)
    return [tuple(row.values()) for row in rows], [note.replace(f"{folder}/", "") for note in notes]


def refusal(name: str, content: str | bytes, **given: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(name, content, **given)
    return str(caught.value).partition(name)[2].strip()


def written(rows: list[tuple[str, str]], separator: str, end: str = "\r\n") -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=separator, lineterminator=end).writerows([HEADER, *rows])
    return stream.getvalue()


@given(TABLES, st.sampled_from(",;|\t"), st.sampled_from(["\n", "\r\n"]))
def test_whatever_a_quoting_writer_wrote_is_read_back(rows: list[tuple[str, str]], separator: str, end: str) -> None:
    rows = [(text, label.rstrip("\r") + ".") for text, label in rows]  # a line's last character may belong to its end
    found, _ = read("data.csv", written(rows, separator, end), separator=separator, quoting="full")
    assert found == rows


@given(TABLES, st.sampled_from(",;|"))
def test_so_it_is_where_the_header_shows_the_separator(rows: list[tuple[str, str]], separator: str) -> None:
    found, notes = read("data.csv", written(rows, separator))
    assert found == rows
    assert any("separated by" in note for note in notes) == (separator != ",")


@given(PLAIN)
def test_a_tsv_without_quoting_has_a_row_a_line(rows: list[tuple[str, str]]) -> None:
    content = "".join("\t".join(row) + "\n" for row in [HEADER, *rows])
    found, notes = read("data.tsv", content)
    assert read("data.tsv", content, quoting="none") == (rows, [])
    assert len(found) == len(rows)
    # what stands in quotation marks as a whole may have lost them; nothing else may differ
    for values, row in zip(found, rows, strict=True):
        for value, text in zip(values, row, strict=True):
            assert value == text or text == '"' + str(value or "").replace('"', '""') + '"'
    if not any('"' in text for row in rows for text in row):
        assert (found, notes) == (rows, [])


@given(PLAIN)
def test_a_tsv_written_with_quoting_is_read_back_on_its_lines(rows: list[tuple[str, str]]) -> None:
    assert read("data.tsv", written(rows, "\t")) == (rows, [])


@given(
    st.text(st.sampled_from('a",;\t\n\r'), max_size=30),
    st.sampled_from(["a.csv", "a.tsv"]),
    st.sampled_from(["auto", "none", "full"]),
)
def test_any_text_is_read_or_refused(content: str, name: str, quoting: Quoting) -> None:
    with suppress(DataError):
        found, _ = read(name, "text,label\n" + content, quoting=quoting)
        assert all(len(values) == 2 for values in found)


def test_a_quotation_mark_that_is_not_closed_on_its_line_is_text_in_a_tsv() -> None:
    rows, notes = read("m.tsv", 'text\tlabel\n"Wow\t1\nnot bad"\t0\nfine\t1\n')
    assert rows == [('"Wow', "1"), ('not bad"', "0"), ("fine", "1")]
    assert notes == ["m.tsv: quotation marks are read as text (line 2 cannot be read with them)"]
    rows, _ = read("m.tsv", 'text\tlabel\n"Wow\t1\n' + "fine\t0\n" * 2000)
    assert rows[:2] == [('"Wow', "1"), ("fine", "0")]
    assert len(rows) == 2001


def test_quoted_fields_and_open_marks_may_stand_in_one_tsv() -> None:
    rows, notes = read("m.tsv", 'text\tlabel\n"a\tb"\t1\n"Wow\t0\n')
    assert rows == [("a\tb", "1"), ('"Wow', "0")]
    assert "first on line 3" in notes[0]


@pytest.mark.parametrize("name", ["m.csv", "m.tsv"])
def test_rows_and_lines_that_disagree_are_told(name: str) -> None:
    separator = "\t" if name == "m.tsv" else ","
    rows, notes = read(name, 'text,label\n"one\ntwo",1\nfine,0\n'.replace(",", separator))
    assert rows == [("one\ntwo", "1"), ("fine", "0")]
    assert "2 rows were read from 4 lines" in notes[0]
    assert "first from line 2" in notes[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", 'text,label\nfine,0\n"Wow,1\n' + "x,1\n" * 50, "line 3: the quotation mark opened here is"),
        ("a.csv", 'text,label\n"Wow,1\nx,1\nsay "no",0\n', "line 2: the field opened here by a quotation mark"),
        ("a.csv", 'text,label\n"one\ntwo","b\nc"d\n', "line 3: the field opened here"),
        ("a.csv", 'text,label\n"Wow,1\nnot",bad,0\n', "lines 2 to 3: 3 fields where the header has 2"),
        ("a.csv", "\ntext,label\n", "line 1 is empty; the first line names the columns"),
        ("a.csv", "text;label\tx\n", "the header holds ';' and '\\t' and no ','; say which one"),
        ("a.csv", "text,label\na,1\n".encode("utf-16-le"), "zero bytes: this looks like UTF-16 without its mark"),
        ("a.tsv", 'text\tlabel\n"a\nb"\t1\n"Wow\t0\n', "line 2: 1 field where the header has 2; the quotation"),
        ("a.tsv", "text\tlabel\none\n", "line 2: 1 field where the header has 2"),
        ("a.tsv", "text\ttext\none\ttwo\n", "names a column twice: text, text"),
    ],
)  # fmt: skip
def test_errors_name_the_line_where_the_trouble_began(name: str, content: str | bytes, words: str) -> None:
    assert words in refusal(name, content)


def test_a_files_own_separator_and_quoting_may_be_said() -> None:
    assert read("a.csv", 'text;label\tx\n"a;1\tb\n', separator="tab", quoting="none")[0] == [('"a;1', "b")]
    assert read("a.tsv", 'text;label\n"a;b";1\n', separator=";")[0] == [("a;b", "1")]
    assert "with text" not in refusal("a.csv", 'text,label\n"a,b",1\n', quoting="none")
    with pytest.raises(DataError, match="separator is one character"):
        read("a.csv", "text,label\na,1\n", separator=";;")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_read(encoding: str, tmp_path: Path) -> None:
    content = 'text\tlabel\n"gut, ja"\t1\n日本\t0\n'.encode(encoding)
    rows, notes = read("excel.csv", content)
    assert rows == [("gut, ja", "1"), ("日本", "0")]
    assert notes == ["excel.csv is read as separated by '\\t', as its header shows"]
    (tmp_path / "excel.csv").write_bytes(content)
    assert header_of(tmp_path / "excel.csv") == ["text", "label"]


def test_carriage_returns_end_lines_only_where_nothing_else_does() -> None:
    assert read("mac.csv", "text,label\rgood,1\rbad,0\r")[0] == [("good", "1"), ("bad", "0")]
    assert read("a.tsv", "text\tlabel\r\ngo\rod\t1\r\n")[0] == [("go\rod", "1")]
    assert read("a.csv", 'text,label\ngo\rod,1\n"\ufdd0,\r",0\n')[0] == [("go\rod", "1"), ("\ufdd0,\r", "0")]


def test_words_that_spell_a_missing_value_stay_words() -> None:
    rows, notes = read("nul.csv", "text,label\nnull,1\nNA,0\nNone,1\nnan,0\n,1\n")
    assert [text for text, _ in rows] == ["null", "NA", "None", "nan", None]
    assert notes == []


def test_a_field_of_two_million_characters_is_one_field() -> None:
    assert read("long.csv", f"text,label\n{'long ' * 400_000},1\n")[0] == [("long " * 400_000, "1")]
