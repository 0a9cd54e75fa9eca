"""A fault of the program: told from what is the user's to mend, and written down for whoever mends it."""

import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from kd2deploy.core.trust import trusted

NO_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "failed to allocate memory",
)
"""How torch, ONNX Runtime and the system say it where they raise no MemoryError."""
PACKAGES = ("kd2deploy", "torch", "transformers", "numpy", "onnx", "onnxruntime", "openvino", "typer", "rich")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the machine's or the device's."""
    said = str(error).lower()
    told = isinstance(error, RuntimeError | OSError) and any(words in said for words in NO_MEMORY)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or told


def own_code(error: BaseException) -> str:
    """`file.py line 12`, where code of the user's own raised it; empty where this program or a library did.

    That is the innermost frame, but for libraries below it, which lies in a module that was named or trusted.
    """
    ours = Path(__file__).parents[1]
    files = {str(vars(sys.modules[name]).get("__file__")) for name in modules_of(trusted()) if name in sys.modules}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files:
            return f"{frame.filename} line {frame.lineno}"
        if ours in Path(frame.filename).parents:
            return ""
    return ""


def modules_of(names: Iterable[str]) -> Iterator[str]:
    """A trusted name is a module's, or that of something inside one."""
    for name in names:
        yield from (name, name.rpartition(".")[0])


def written_down(error: BaseException, folder: Path | None) -> str:
    """Write traceback, command and versions to a file, in `folder` where that can be had; one line that names it, and
    whose fault it is."""
    begun = datetime.now(UTC)
    text = "\n".join(
        [
            f"command: {shlex.join(sys.argv)}",
            f"time: {begun.isoformat(timespec='seconds')}",
            f"system: {platform.platform()}, Python {platform.python_version()}",
            f"versions: {', '.join(versions())}",
            "",
            *traceback.format_exception(error),
        ]
    )
    file = write(text, f"crash-{begun:%Y%m%d-%H%M%S}.txt", folder)
    said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if place := own_code(error):
        return f"{place} failed ({said}), which is code of your own: nothing was judged; {file} holds the traceback"
    where = f"please report it with {file}, which holds the traceback, the command and the versions"
    return f"kd2deploy itself failed ({said}): a fault of the program, and nothing was judged; {where}"


def write(text: str, name: str, folder: Path | None) -> Path:
    if folder is not None and folder.is_dir():
        try:
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
            return folder / name
        except OSError:
            pass  # a full or read-only folder may be what began it; the temporary folder is the other place
    with tempfile.NamedTemporaryFile(
        "w", prefix="kd2deploy-", suffix=f"-{name}", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as stream:
        stream.write(text)
    return Path(stream.name)


def versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found
