"""The session that runs a folder for the browser in a real one: ONNX Runtime Web in headless Chromium."""

import base64
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import numpy as np

from kd2deploy.core import Artifact, Feed, Ports, Target
from kd2deploy.core.figures import count_of
from kd2deploy.core.serving import Serving
from kd2deploy.errors import SessionError
from kd2deploy.exporters._cpu import intra_op_threads, isa
from kd2deploy.exporters.web.browser import Chromium
from kd2deploy.exporters.web.runtime import FILES

MODEL = "model.onnx"
PAGE = "page.js"
KINDS = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
SHOWN = b"<!doctype html><title>kd2deploy</title><script src=/page.js></script>"
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
"""Without these a page has one thread, and a clock of a tenth of a millisecond."""


class WebSession:
    """A folder for the browser, in headless Chromium with as many threads as the target's.

    The page tells how long each run took by its own clock (5 microseconds). Carrying arrays to and from it is no part
    of what a page does, and `clock_ns` leaves it out. Raises SessionError where there is no browser, or where it gives
    other threads than were asked for.
    """

    serving: ClassVar[Serving] = Serving("web", opens=MODEL)

    def __init__(self, artifact: Artifact, ports: Ports, target: Target) -> None:
        self._carried_ns = 0
        self._outputs = [port.name for port in ports.outputs]
        self._server = served({f"/{name}": artifact.path / name for name in (MODEL, PAGE, *FILES)})
        self._profile = tempfile.TemporaryDirectory(prefix="kd2deploy-browser-", ignore_cleanup_errors=True)
        self._browser: Chromium | None = None
        try:
            self._browser = Chromium(Path(self._profile.name))
            self._browser.show(f"http://127.0.0.1:{self._server.server_port}/")
            threads = intra_op_threads(target)
            self._found: Mapping[str, Any] = self._browser.value(f"opened({threads})")
            self._inputs = list(self._found["inputs"])
            if not self._found["isolated"] or self._found["threads"] != threads:
                got = count_of(self._found["threads"], "thread")
                raise SessionError(f"the page got {got}, not {threads}; set the target's threads")
            unknown = set(self._inputs) - {port.name for port in ports.inputs}
            if unknown:
                raise SessionError(f"{artifact.path} reads {sorted(unknown)}, which task {ports.called} does not feed")
        except BaseException:
            self._close()
            raise
        self._precision = artifact.precision

    def run(self, feed: Feed) -> dict[str, np.ndarray[Any, Any]]:
        assert self._browser is not None
        begun = time.perf_counter_ns()
        carried = ",".join(f'"{name}":{as_literal(feed[name])}' for name in self._inputs)
        found = self._browser.value(f"ran({{{carried}}})")
        answers = {name: as_array(found["outputs"][name]) for name in self._outputs}
        self._carried_ns += time.perf_counter_ns() - begun - round(found["ms"] * 1e6)
        return answers

    def clock_ns(self) -> int:
        """The time that passes where the page runs: nanoseconds, less those that only carried arrays to it and back."""
        return time.perf_counter_ns() - self._carried_ns

    def describe(self) -> dict[str, str]:
        agent = str(self._found["agent"])
        browser = next((one for one in agent.split() if "Chrome/" in one), agent)
        return {
            "runtime": f"onnxruntime-web {self._found['version']}",
            "device": "CPU",
            "provider": "wasm",
            "browser": browser,
            "precision": self._precision,
            "threads": str(self._found["threads"]),
            "isa": isa(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._browser is not None:
            self._browser.close()
        self._browser = None
        self._server.shutdown()
        self._server.server_close()
        self._profile.cleanup()


def as_literal(array: np.ndarray[Any, Any]) -> str:
    """An array as the page reads it."""
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return f'{{"type":"{array.dtype.name}","dims":{list(array.shape)},"data":"{data}"}}'


def as_array(told: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    flat = np.frombuffer(base64.b64decode(told["data"]), dtype=np.dtype(told["type"]))
    return flat.reshape(told["dims"]).copy()


def served(files: Mapping[str, Path]) -> ThreadingHTTPServer:
    """A server of this machine alone that has these files, by their addresses, and an empty page that runs `PAGE`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, files))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Files(BaseHTTPRequestHandler):
    """A few files and nothing else."""

    def __init__(self, files: Mapping[str, Path], *arguments: Any) -> None:
        self.files = files
        super().__init__(*arguments)

    def do_GET(self) -> None:
        place = urlsplit(self.path).path
        file = self.files.get(place)
        if file is None and place != "/":
            self.send_error(404)
            return
        body = file.read_bytes() if file is not None else SHOWN
        kind = KINDS.get(file.suffix, "application/octet-stream") if file is not None else "text/html"
        self.send_response(200)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **ISOLATED}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Requests are nobody's news."""
