"""A real browser for the tests: headless Chromium, spoken to in its own protocol through a pipe."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.other_processes import PATIENCE_S

LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Chromium reads its orders from descriptor 3 and answers on 4."""


def chromium() -> str | None:
    """The browser's path, or None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def above_four(descriptor: int) -> int:
    """The same open file under a number that the browser's own descriptors do not take."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class Browser:
    """One tab. `events` holds everything the page said: log entries, console calls, exceptions, requests."""

    def __init__(self, folder: Path) -> None:
        program = chromium()
        assert program is not None
        to_browser, self._send = map(above_four, os.pipe())
        self._receive, from_browser = map(above_four, os.pipe())
        switches = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars "
            f"--remote-debugging-pipe --user-data-dir={folder} about:blank"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", LAUNCH, str(to_browser), str(from_browser), program, *switches.split()],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": str(folder)},
        )
        os.close(to_browser)
        os.close(from_browser)
        os.set_blocking(self._receive, False)
        self._left, self._number, self._tab = b"", 0, ""
        self._answers: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._tab = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(timeout=PATIENCE_S)
        os.close(self._send)
        os.close(self._receive)

    def open(self, page: Path, width: int, *, dark: bool = False, media: str = "") -> None:
        """Show a file at a width in CSS pixels, and wait until its figures are drawn."""
        self.events.clear()
        phone = width < 600
        size = {"width": width, "height": 900, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self._call("Emulation.setDeviceMetricsOverride", size)
        self.scheme(dark, media)
        self._call("Page.navigate", {"url": page.as_uri()})
        self._until(lambda: any(event["method"] == "Page.loadEventFired" for event in self.events))
        self._until(lambda: bool(self.value("!window.Plotly || 'drawn' in document.documentElement.dataset")))

    def scheme(self, dark: bool, media: str = "") -> None:
        """Prefer light or dark, as a reader's system does."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"media": media, "features": [feature]})

    def value(self, script: str) -> Any:
        """What a JavaScript expression is; promises are awaited."""
        answer = self._call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def picture(self, path: Path) -> Path:
        """The whole page as a PNG file."""
        answer = self._call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def complaints(self) -> list[str]:
        """Exceptions, console errors and warnings, and refused loads since the page was opened."""
        return [
            json.dumps(event["params"])
            for event in self.events
            if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed")
            or (event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "warning"))
        ]

    def requests(self) -> list[str]:
        """The address of everything that the page asked for."""
        return [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]

    def _call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters or {}}
        if self._tab:
            message["sessionId"] = self._tab
        os.write(self._send, json.dumps(message).encode() + b"\0")
        number = self._number
        self._until(lambda: number in self._answers)
        answer = self._answers.pop(number)
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def _listen(self) -> None:
        """Read what has come: answers by their number, all else is an event."""
        try:
            while chunk := os.read(self._receive, 1 << 20):
                self._left += chunk
        except BlockingIOError:
            pass
        *whole, self._left = self._left.split(b"\0")
        for message in map(json.loads, whole):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.events.append(message)

    def _until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert self._process.poll() is None, "the browser ended"
            assert time.monotonic() < deadline, f"the browser did not answer within {PATIENCE_S} s"
            self._listen()
            time.sleep(0.01)
