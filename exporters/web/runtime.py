"""ONNX Runtime Web as files: one version of its npm package, fetched once by hash and never run outside a browser."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from filelock import FileLock

from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.cache import cache_folder
from kd2deploy.errors import ConvertError

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
FILE = f"onnxruntime-web-{VERSION}.tgz"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What a page loads for the processor: 14 MB, of which a server sends about a quarter when it compresses."""


def runtime_files(folder: Path | None = None) -> list[Path]:
    """The files, unpacked in the cache; fetched by npm where they are not. Raises ConvertError with the remedy."""
    place = folder or cache_folder() / "onnxruntime-web"
    place.mkdir(parents=True, exist_ok=True)
    unpacked = place / VERSION
    with FileLock(place / f"{VERSION}.lock"):
        if not unpacked.is_dir():
            package = place / FILE
            if not package.is_file():
                fetch(package)
            unpack(package, unpacked)
    return [unpacked / name for name in FILES]


def fetch(package: Path) -> None:
    remedy = f"run `npm pack {PACKAGE}` where there is a network and put {FILE} into {package.parent}"
    npm = shutil.which("npm")
    if npm is None:
        raise ConvertError(f"ONNX Runtime Web comes by npm, which is not installed: apt-get install npm, or {remedy}")
    with tempfile.TemporaryDirectory(dir=package.parent) as scratch:
        command = [npm, "pack", PACKAGE, "--silent", "--pack-destination", scratch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        brought = Path(scratch) / FILE
        if done.returncode or not brought.is_file():
            last = (done.stderr.strip().splitlines() or ["npm failed"])[-1]
            raise ConvertError(f"{PACKAGE} could not be fetched ({last}); {remedy}")
        brought.replace(package)


def unpack(package: Path, to: Path) -> None:
    """The files out of the package, put in place together. Raises ConvertError for other bytes than the pinned."""
    found = sha256_of(package)
    if found != SHA256:
        raise ConvertError(f"{package} is not the pinned {PACKAGE} (sha256 {found[:12]}); delete it")
    with tempfile.TemporaryDirectory(dir=package.parent) as scratch, tarfile.open(package) as bundle:
        for name in FILES:
            inside = bundle.extractfile(f"package/dist/{name}")
            assert inside is not None, "which the pinned package has"
            Path(scratch, name).write_bytes(inside.read())
        shutil.copytree(scratch, to)
