"""Separated values: csv, tsv and their relatives, read so that no row swallows another without a word.

Between commas or semicolons a field in quotation marks may hold separators and line ends, as RFC 4180 says. Most files
with tabs are written without any quoting: there a quotation mark that is not closed on its own line is text.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kd2deploy.core.figures import count_of
from kd2deploy.data._encoding import encoding_of
from kd2deploy.errors import DataError

Row = dict[str, Any]
Fields = list[str]
Quoting = Literal["auto", "none", "full"]
"""What quotation marks mean. `none`: text. `full`: they enclose a field, which may go on over lines. `auto`: full; with
tabs, a field that ends on its line, or text."""
SEPARATORS = (",", ";", "\t", "|")
WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|"}
QUOTE = '"'
BARE = re.compile(r"\r(?!\n)")
NONCHARACTERS = [chr(place) for place in range(0xFDD0, 0xFDF0)]
"""Code points that Unicode keeps for a program's own use."""
AS_TEXT = "set `quoting: none` if the file's quotation marks are text"


@dataclass(frozen=True)
class Lines:
    """A file's lines with their ends, and what separates their fields."""

    path: Path
    lines: Sequence[str]
    separator: str

    def header(self) -> Fields:
        """The names of the columns. Raises DataError."""
        if not self.lines[0].strip():
            raise DataError(f"{self.path} line 1 is empty; the first line names the columns")
        if self.separator == "\t":
            return enclosed(self.lines[0], "\t") or plain(self.lines[0], "\t")
        reader = csv.reader(self.lines, delimiter=self.separator, strict=True)
        try:
            return next(reader)
        except csv.Error as error:
            raise DataError(broken(self, 1, reader.line_num, str(error))) from error

    def numbered(self) -> Iterator[tuple[int, str]]:
        """The lines below the header that are not empty, counted from 1."""
        return ((number, line) for number, line in enumerate(self.lines[1:], 2) if line.strip("\r\n"))


def separated(path: Path, notes: list[str], separator: str | None = None, quoting: Quoting = "auto") -> list[Row]:
    """Rows of a file with a header; an empty field is None. What the reader decided by itself is added to `notes`.

    Without a `separator` it is a tab in a tsv and a comma elsewhere, unless the header shows another of SEPARATORS.
    Raises DataError with the line, and for a quotation mark the line on which it was opened.
    """
    csv.field_size_limit(2**31 - 1)  # a text longer than the module's 128 kB default is still a text
    lines = lines_of(path)
    if not lines:
        return []
    lines, bare = shielded(lines)
    file = Lines(path, lines, separator_of(path, lines[0], separator, notes))
    header = file.header()
    if len(set(header)) < len(header):
        raise DataError(f"{path} names a column twice: {', '.join(header)}")
    if quoting == "none":
        records: Iterable[Fields] = unquoted(file, len(header))
    elif quoting == "auto" and file.separator == "\t":
        records = by_line(file, len(header), notes)
    else:
        records = over_lines(file, len(header), notes)
    rows = [dict(zip(header, (value or None for value in fields), strict=True)) for fields in records]
    if bare:
        return [{name: value and value.replace(bare, "\r") for name, value in row.items()} for row in rows]
    return rows


def header_of(path: Path, separator: str | None = None) -> Fields:
    """The names of a file's columns. Raises DataError."""
    lines = lines_of(path)
    return Lines(path, lines, separator_of(path, lines[0], separator, [])).header() if lines else []


def lines_of(path: Path) -> list[str]:
    """Lines with their ends. A carriage return ends a line only where the file has no line feed at all."""
    with path.open(encoding=encoding_of(path), newline="\n") as stream:
        lines = list(stream)
    if len(lines) == 1 and not lines[0].endswith("\n") and "\r" in lines[0]:
        lines = [line + "\n" for line in lines[0].removesuffix("\r").split("\r")]
    if lines and "\0" in lines[0]:
        raise DataError(f"{path} holds zero bytes: this looks like UTF-16 without its mark; save it as UTF-8")
    return lines


def shielded(lines: list[str]) -> tuple[list[str], str]:
    """Lines with something else in the place of carriage returns that end none, and what that is; "" for nothing.

    The csv module takes them for a line's end, and writes them without quotation marks.
    """
    if not any(BARE.search(line) for line in lines):
        return lines, ""
    free = next(one for one in NONCHARACTERS if not any(one in line for line in lines))
    return [BARE.sub(free, line) for line in lines], free


def separator_of(path: Path, header: str, given: str | None, notes: list[str]) -> str:
    """What separates the fields: as given, as the file's ending says, or as its header shows. Raises DataError."""
    if given is not None:
        found = WORDS.get(given, given)
        if len(found) != 1 or found in '"\r\n':
            raise DataError(f"separator is one character, such as ';', or one of {', '.join(WORDS)}; got {given!r}")
        return found
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    shown = [one for one in SEPARATORS if len(enclosed(header, one) or plain(header, one)) > 1]
    if usual in shown or not shown:
        return usual
    if len(shown) > 1:
        raise DataError(
            f"{path}: the header holds {' and '.join(map(repr, shown))} and no {usual!r}; say which one separates the "
            "columns with `separator` under `data`"
        )
    notes.append(f"{path} is read as separated by {shown[0]!r}, as its header shows")
    return shown[0]


# one line at a time ---------------------------------------------------------------------------------------------


def plain(line: str, separator: str) -> Fields:
    """The fields of a line in which a quotation mark is text."""
    return line.removesuffix("\n").removesuffix("\r").split(separator)


def enclosed(line: str, separator: str) -> Fields | None:
    """The fields of a line in which quotation marks enclose fields; None where they cannot all do so."""
    if QUOTE not in line:
        return plain(line, separator)
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error:
        return None


def unquoted(file: Lines, width: int) -> Iterator[Fields]:
    for number, line in file.numbered():
        fields = plain(line, file.separator)
        if len(fields) != width:
            raise DataError(f"{misfit(file.path, number, number, fields, width)}; no field may hold the separator")
        yield fields


def by_line(file: Lines, width: int, notes: list[str]) -> list[Fields]:
    """Records of one line each: all with their quotation marks, or all without, or each as it fits.

    Where some line fits neither way, fields that go on over lines are tried last.
    """
    numbers = [number for number, _ in file.numbered()]
    quoted = [fitting(enclosed(line, file.separator), width) for _, line in file.numbered()]
    if None not in quoted:
        return [fields for fields in quoted if fields is not None]
    odd = numbers[quoted.index(None)]
    text = [fitting(plain(line, file.separator), width) for _, line in file.numbered()]
    if None not in text:
        notes.append(f"{file.path}: quotation marks are read as text (line {odd} cannot be read with them)")
        return [fields for fields in text if fields is not None]
    mixed = [one or other for one, other in zip(quoted, text, strict=True)]
    if None not in mixed:
        notes.append(
            f"{file.path}: quotation marks that enclose no field on their line are read as text (first on line {odd})"
        )
        return [fields for fields in mixed if fields is not None]
    try:
        return list(over_lines(file, width, notes))
    except DataError:
        number = numbers[mixed.index(None)]
    fields = plain(file.lines[number - 1], file.separator)
    opened = [at for at in range(2, number + 1) if enclosed(file.lines[at - 1], file.separator) is None]
    remedy = f"; the quotation mark on line {opened[-1]} is not closed there: close it, or {AS_TEXT}" if opened else ""
    raise DataError(misfit(file.path, number, number, fields, width) + remedy)


def fitting(fields: Fields | None, width: int) -> Fields | None:
    return fields if fields is not None and len(fields) == width else None


# records over lines ---------------------------------------------------------------------------------------------


def over_lines(file: Lines, width: int, notes: list[str]) -> Iterator[Fields]:
    """Records whose fields in quotation marks may hold separators and line ends."""
    reader = csv.reader(file.lines, delimiter=file.separator, strict=True)
    rows, long, begun = -1, 0, 0
    while True:
        first = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(broken(file, first, reader.line_num, str(error))) from error
        if fields is None:
            break
        if not fields:
            continue
        rows += 1
        if reader.line_num > first:
            long, begun = long + 1, begun or first
        if len(fields) != width:
            raise DataError(
                f"{misfit(file.path, first, reader.line_num, fields, width)}; quote fields that hold the separator"
                + (f"; {AS_TEXT}" if reader.line_num > first else "")
            )
        if rows:
            yield fields
    if long:
        notes.append(
            f"{file.path}: {rows:,} rows were read from {len(file.lines):,} lines, because {long:,} "
            f"{'row has line ends' if long == 1 else 'rows have line ends'} within quotation marks, first from line "
            f"{begun}; {AS_TEXT}"
        )


def misfit(path: Path, first: int, last: int, fields: Fields, width: int) -> str:
    where = f"line {first}" if first == last else f"lines {first} to {last}"
    return f"{path} {where}: {count_of(len(fields), 'field')} where the header has {width}"


def broken(file: Lines, first: int, last: int, error: str) -> str:
    """What is wrong with the record that begins on line `first` and could be read up to line `last`."""
    opened = opened_on(file, first)
    if opened is None:
        return f"{file.path} line {last}: {error}"
    if "unexpected end" in error:
        return f"{file.path} line {opened}: the quotation mark opened here is never closed; close it, or {AS_TEXT}"
    return (
        f"{file.path} line {opened}: the field opened here by a quotation mark has text behind the closing one (line "
        f"{last}); double the marks within a field, or {AS_TEXT}"
    )


def opened_on(file: Lines, first: int) -> int | None:
    """The line on which the field that cannot be read was opened by a quotation mark; None where none was.

    Walks over the fields of the record that begins on line `first`.
    """
    text, at = "".join(file.lines[first - 1 :]), 0
    while True:
        if not text.startswith(QUOTE, at):
            ends = [end for end in (text.find(file.separator, at), text.find("\n", at)) if end >= 0]
            if not ends or text[min(ends)] == "\n":
                return None
            at = min(ends) + 1
            continue
        opened, end = at, text.find(QUOTE, at + 1)
        while text.startswith(QUOTE * 2, end) and end >= 0:
            end = text.find(QUOTE, end + 2)
        if end < 0 or not text.startswith(file.separator, end + 1):
            return first + text.count("\n", 0, opened)
        at = end + 2
