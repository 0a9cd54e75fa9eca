"""The files that a name stands for: one, those that a pattern matches, a folder's shards, or files elsewhere (fsspec).

What lies elsewhere is fetched into the cache, once for each state that it is in, and read there as a file here is.
"""

import glob
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from kd2deploy.core.cache import cache_folder
from kd2deploy.core.figures import count_of
from kd2deploy.data._pictures import SPLITS, endings, is_hidden, pictures
from kd2deploy.errors import DataError, Kd2DeployError, first_line

ENDINGS = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"})
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""What fsspec reads a place with, where that is a package of its own."""


def is_remote(name: str) -> bool:
    """Whether a name is an address: `s3://bucket/train/*.parquet`."""
    return "://" in name


def is_pattern(name: str) -> bool:
    return glob.has_magic(name) and not Path(name).exists()


def places_of(name: str) -> list[Path]:
    """The files, in the order of their names; a folder of pictures, and what is not there, stand for themselves.

    Raises DataError for a pattern that matches none, a folder with files of several kinds, and a place that cannot be
    reached or may not be read.
    """
    if is_remote(name):
        return fetched(name)
    if is_pattern(name):
        found = [Path(one) for one in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207 (it may be absolute)
        return some([one for one in found if one.is_file()], name, f" (looked for in {Path.cwd()})")
    path = Path(name)
    if not path.is_dir():
        return [path]
    shards = sorted(one for one in path.iterdir() if one.is_file() and not is_hidden(one) and is_data(one.name))
    return one_kind(shards, name) if shards and not holds_pictures(path) else [path]


def is_data(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in ENDINGS


def holds_pictures(folder: Path) -> bool:
    return next(pictures(folder, endings(), Counter()), None) is not None


def some(found: list[Path], name: str, where: str = "") -> list[Path]:
    if not found:
        raise DataError(f"no file matches {name}{where}; check the path under `data`")
    return one_kind(found, name)


def one_kind(found: list[Path], name: str) -> list[Path]:
    """The files, which must all be of one kind and one split."""
    kinds = sorted({one.suffix.lower() for one in found})
    if len(kinds) > 1:
        raise DataError(
            f"{name} stands for {count_of(len(found), 'file')} of several kinds ({', '.join(kinds)}); name those to "
            f"read by a pattern, such as {name.rstrip('/').partition('*')[0].rstrip('/')}/*{kinds[0]}"
        )
    splits = sorted({split for one in found if (split := split_of(one.name))})
    if len(splits) > 1:
        raise DataError(
            f"{name} stands for files of several splits ({', '.join(splits)}); name those of one by a pattern, such as "
            f"{splits[0]}*{kinds[0]}"
        )
    return found


def split_of(name: str) -> str:
    """The split that a file's name begins with: `train-00001-of-00008.parquet`; empty where it begins otherwise."""
    first = re.split(r"[^a-z]", name.lower())[0]
    return first if first in SPLITS else ""


# elsewhere ------------------------------------------------------------------------------------------------------


def fetched(url: str) -> list[Path]:
    """The files at an address, as files here."""
    system, place = opened(url)
    with reached(url):
        if glob.has_magic(place):
            names = sorted(system.glob(place))
        elif system.isdir(place):
            names = sorted(name for name in system.find(place, maxdepth=1) if is_data(name))
        else:
            names = [place] if system.exists(place) else []
    if not names:
        raise DataError(f"{url} does not exist, or holds no file that is read; check the address under `data`")
    kept: list[Path] = []
    for name in names:
        with reached(url):
            kept.append(copy_of(system, name, urlsplit(url).scheme))
    return one_kind(kept, url)


def opened(url: str) -> tuple[Any, str]:
    """The file system that an address is on, and the place there. Raises DataError."""
    import fsspec

    scheme = urlsplit(url).scheme
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = PACKAGES.get(scheme)
        remedy = f"`pip install {package}`" if package else "install it"
        raise DataError(f"{url} is read by a package that is not installed ({first_line(error)}); {remedy}") from error
    except ValueError as error:
        raise DataError(
            f"{url}: nothing reads {scheme}:// ({first_line(error)}); addresses are s3://, gs://, hf:// and whatever "
            "else fsspec knows"
        ) from error
    return found


def copy_of(system: Any, name: str, scheme: str) -> Path:
    """A file from elsewhere, in the cache. Another state of it (size, time, hash, as its system tells) is another."""
    key = hashlib.sha256(f"{scheme} {name} {system.ukey(name)}".encode()).hexdigest()[:32]
    place = cache_folder() / "remote" / key / PurePosixPath(name).name
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f".{place.name}.new")
        system.get_file(name, str(new))
        new.rename(place)
    return place


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Whatever a place elsewhere answers but the file, as one DataError.

    Each file system raises its own client's errors, most of which are no OSError: no credentials, no such bucket, no
    network.
    """
    try:
        yield
    except Kd2DeployError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{url} does not exist; check the address under `data`") from error
    except PermissionError as error:
        raise DataError(f"{url} may not be read ({first_line(error)}); check your credentials for it") from error
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        remedy = "check the address, the network and your credentials"
        raise DataError(f"{url} cannot be reached ({said}); {remedy}") from error


def same_columns(shards: Sequence[Path], columns_of: Callable[[Path], Sequence[str]]) -> None:
    """Raises DataError for a shard whose columns are others than the first one's."""
    first = sorted(columns_of(shards[0]))
    for shard in shards[1:]:
        columns = sorted(columns_of(shard))
        if columns != first:
            odd = sorted(set(first) ^ set(columns))
            raise DataError(
                f"{shard} and {shards[0]} do not have the same columns ({', '.join(odd[:5])} in one alone); files that "
                "are read together must"
            )
