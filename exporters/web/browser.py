"""Headless Chromium, spoken to in its own protocol (Chrome DevTools Protocol) through a pipe."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kd2deploy.errors import SessionError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
KEEPER = Path(__file__).with_name("keeper.py")
SWITCHES = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE_S = 300.0
"""How long one answer may take."""


def chromium() -> str | None:
    """The browser's path, or None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Chromium:
    """One tab of a browser of its own. `events` holds everything it said unasked.

    Raises SessionError where no browser is installed, where it ends, does not answer, or a script of the page fails.
    """

    def __init__(self, folder: Path) -> None:
        program = chromium()
        if program is None:
            raise SessionError("no Chromium is installed: apt-get install chromium, or install Google Chrome")
        to_browser, self._send = map(_above_four, os.pipe())
        self._receive, from_browser = map(_above_four, os.pipe())
        switches = [*SWITCHES, f"--user-data-dir={folder}"]
        if os.geteuid() == 0:  # its sandbox cannot be set up by root
            switches.append("--no-sandbox")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(KEEPER), str(to_browser), str(from_browser), program, *switches, "about:blank"],
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
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._tab = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._send)
        os.close(self._receive)

    def show(self, address: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", {"url": address})
        self.wait(lambda: any(event["method"] == "Page.loadEventFired" for event in self.events))

    def value(self, script: str) -> Any:
        """What a JavaScript expression is, as JSON has it; promises are awaited."""
        answer = self.call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in answer:
            told = answer["exceptionDetails"].get("exception", {}).get("description", "it does not say why")
            raise SessionError(f"the page failed: {told}")
        return answer["result"].get("value")

    def call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """One order of the protocol, and its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters or {}}
        if self._tab:
            message["sessionId"] = self._tab
        self._write(json.dumps(message).encode() + b"\0")
        number = self._number
        self.wait(lambda: number in self._answers)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise SessionError(f"the browser refuses {method}: {answer['error'].get('message')}")
        found: dict[str, Any] = answer["result"]
        return found

    def wait(self, reached: Callable[[], bool]) -> None:
        """Listen until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            if self._process.poll() is not None:
                raise SessionError("the browser ended")
            if time.monotonic() > deadline:
                raise SessionError(f"the browser did not answer within {PATIENCE_S:g} s")
            self._listen()

    def _write(self, message: bytes) -> None:
        while message:
            message = message[os.write(self._send, message) :]

    def _listen(self) -> None:
        """Read what has come, or wait a moment for it: answers by their number, all else is an event."""
        select.select([self._receive], [], [], 0.05)
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


def _above_four(descriptor: int) -> int:
    """The same open file under a number that the browser's own descriptors do not take."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved
