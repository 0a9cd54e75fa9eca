"""Separated values: csv, tsv and their relatives, read so that no row swallows another without a word.

Between commas or semicolons a field in quotation marks may hold separators and line ends, as RFC 4180 says. Most files
with tabs are written without any quoting: there a quotation mark that is not closed on its own line is text.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from kd2deploy.core.figures import count_of
from kd2deploy.data._encoding import encoding_of
from kd2deploy.errors import DataError

Row = dict[str, Any]
Fields = list[str]
Record = list[str | None]
Taken = TypeVar("Taken")
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


class BareError(Exception):
    """A line holds a carriage return that ends none, and none were looked out for."""


@dataclass(frozen=True)
class Text:
    """A file's lines with their ends, read anew whenever they are asked for: it need not fit into memory."""

    path: Path
    first: str
    """Its first line; empty where the file is."""
    old_ends: bool = False
    """Whether carriage returns alone end its lines, as they do where it has no line feed at all."""
    shield: str = ""
    """What stands for carriage returns that end no line. The csv module takes them for a line's end, and writes them
    without quotation marks."""

    @classmethod
    def of(cls, path: Path) -> "Text":
        """Raises DataError for what is no text."""
        with path.open(encoding=encoding_of(path), newline="\n") as stream:
            first = next(stream, "")
        old_ends = bool(first) and not first.endswith("\n") and "\r" in first
        if old_ends:
            first = first[: first.index("\r")] + "\n"
        if "\0" in first:
            raise DataError(f"{path} holds zero bytes: this looks like UTF-16 without its mark; save it as UTF-8")
        return cls(path, BARE.sub(NONCHARACTERS[0], first), old_ends)

    def shielded(self) -> "Text":
        """The same with something that the file does not hold in the place of carriage returns that end no line."""
        found: set[str] = set()
        for line in self.read():
            found.update(one for one in NONCHARACTERS if one in line)
        return replace(self, shield=next(one for one in NONCHARACTERS if one not in found))

    def read(self) -> Iterator[str]:
        with self.path.open(encoding=encoding_of(self.path), newline="\r" if self.old_ends else "\n") as stream:
            for line in stream:
                yield line.removesuffix("\r") + "\n" if self.old_ends else line

    def __iter__(self) -> Iterator[str]:
        for line in self.read():
            if "\r" not in line or not BARE.search(line):
                yield line
            elif self.shield:
                yield BARE.sub(self.shield, line)
            else:
                raise BareError

    def tail(self, first: int) -> Iterator[str]:
        """The lines from number `first` on, counted from 1."""
        return islice(self, first - 1, None)


@dataclass(frozen=True)
class Lines:
    """A file's lines, and what separates their fields."""

    text: Text
    separator: str

    @property
    def path(self) -> Path:
        return self.text.path

    def header(self) -> Fields:
        """The names of the columns. Raises DataError."""
        if not self.text.first.strip():
            raise DataError(f"{self.path} line 1 is empty; the first line names the columns")
        if self.separator == "\t":
            return enclosed(self.text.first, "\t") or plain(self.text.first, "\t")
        reader = csv.reader(self.text, delimiter=self.separator, strict=True)
        try:
            return next(reader)
        except csv.Error as error:
            raise DataError(broken(self, 1, reader.line_num, str(error))) from error

    def numbered(self) -> Iterator[tuple[int, str]]:
        """The lines below the header that are not empty, counted from 1."""
        return ((number, line) for number, line in enumerate(self.text.tail(2), 2) if line.strip("\r\n"))


def separated(path: Path, notes: list[str], separator: str | None = None, quoting: Quoting = "auto") -> list[Row]:
    """Rows of a file with a header; an empty field is None. What the reader decided by itself is added to `notes`.

    Without a `separator` it is a tab in a tsv and a comma elsewhere, unless the header shows another of SEPARATORS.
    Raises DataError with the line, and for a quotation mark the line on which it was opened.
    """

    def taken(header: Fields, records: Iterator[Record]) -> list[Row]:
        return [dict(zip(header, record, strict=True)) for record in records]

    return read_separated(path, notes, taken, separator, quoting)


def read_separated(
    path: Path,
    notes: list[str],
    take: Callable[[Fields, Iterator[Record]], Taken],
    separator: str | None = None,
    quoting: Quoting = "auto",
) -> Taken:
    """What `take` makes of a file's header and records, as `separated` reads them: one record at a time."""
    csv.field_size_limit(2**31 - 1)  # a text longer than the module's 128 kB default is still a text
    text = Text.of(path)
    if not text.first:
        return take([], iter(()))
    said: list[str] = []
    try:
        found = take(*records_of(text, said, separator, quoting))
    except BareError:
        said = []
        found = take(*records_of(text.shielded(), said, separator, quoting))
    notes += said
    return found


def records_of(
    text: Text, notes: list[str], separator: str | None, quoting: Quoting
) -> tuple[Fields, Iterator[Record]]:
    """Header and records. Raises DataError."""
    file = Lines(text, separator_of(text.path, text.first, separator, notes))
    header = file.header()
    if len(set(header)) < len(header):
        raise DataError(f"{text.path} names a column twice: {', '.join(header)}")
    if quoting == "none":
        records: Iterable[Fields] = unquoted(file, len(header))
    elif quoting == "auto" and file.separator == "\t":
        records = by_line(file, len(header), notes)
    else:
        records = over_lines(file, len(header), notes)
    if not text.shield:
        return header, ([value or None for value in fields] for fields in records)
    put_back = (text.shield, "\r")
    return header, ([value.replace(*put_back) or None for value in fields] for fields in records)


def header_of(path: Path, separator: str | None = None) -> Fields:
    """The names of a file's columns. Raises DataError."""
    text = Text.of(path)
    if not text.first:
        return []
    try:
        return Lines(text, separator_of(path, text.first, separator, [])).header()
    except BareError:
        return Lines(text.shielded(), separator_of(path, text.first, separator, [])).header()


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


def by_line(file: Lines, width: int, notes: list[str]) -> Iterator[Fields]:
    """Records of one line each: all with their quotation marks, or all without, or each as it fits.

    Where some line fits neither way, fields that go on over lines are tried last. Lines are read through for each way,
    and kept in none.
    """

    def quoted(line: str) -> Fields | None:
        return fitting(enclosed(line, file.separator), width)

    def bare(line: str) -> Fields | None:
        return fitting(plain(line, file.separator), width)

    def fits(*ways: Callable[[str], Fields | None]) -> int | None:
        """The first line that fits in none of these ways."""
        return next((number for number, line in file.numbered() if all(way(line) is None for way in ways)), None)

    odd = fits(quoted)
    if odd is None:
        return (fields for _, line in file.numbered() if (fields := quoted(line)) is not None)
    if fits(bare) is None:
        notes.append(f"{file.path}: quotation marks are read as text (line {odd} cannot be read with them)")
        return (fields for _, line in file.numbered() if (fields := bare(line)) is not None)
    number = fits(quoted, bare)
    if number is None:
        notes.append(
            f"{file.path}: quotation marks that enclose no field on their line are read as text (first on line {odd})"
        )
        return (fields for _, line in file.numbered() if (fields := quoted(line) or bare(line)) is not None)
    try:
        return iter(list(over_lines(file, width, notes)))
    except DataError:
        pass
    opened = [at for at, line in file.numbered() if at <= number and enclosed(line, file.separator) is None]
    fields = plain(next(line for at, line in file.numbered() if at == number), file.separator)
    remedy = f"; the quotation mark on line {opened[-1]} is not closed there: close it, or {AS_TEXT}" if opened else ""
    raise DataError(misfit(file.path, number, number, fields, width) + remedy)


def fitting(fields: Fields | None, width: int) -> Fields | None:
    return fields if fields is not None and len(fields) == width else None


# records over lines ---------------------------------------------------------------------------------------------


def over_lines(file: Lines, width: int, notes: list[str]) -> Iterator[Fields]:
    """Records whose fields in quotation marks may hold separators and line ends."""
    reader = csv.reader(file.text, delimiter=file.separator, strict=True)
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
            f"{file.path}: {rows:,} rows were read from {reader.line_num:,} lines, because {long:,} "
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
    text, at = "".join(file.text.tail(first)), 0
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
