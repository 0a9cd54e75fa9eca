"""A real browser for the tests: headless Chromium as the program's own session starts it, and what pages are asked."""

import base64
import json
from pathlib import Path

from kd2deploy.exporters.web.browser import Chromium, chromium

__all__ = ["Browser", "chromium"]


class Browser(Chromium):
    """One tab. `events` holds everything the page said: log entries, console calls, exceptions, requests."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.call("Network.enable")

    def open(self, page: Path, width: int, *, dark: bool = False, media: str = "") -> None:
        """Show a file at a width in CSS pixels, and wait until its figures are drawn."""
        phone = width < 600
        size = {"width": width, "height": 900, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", size)
        self.scheme(dark, media)
        self.show(page.as_uri())
        self.wait(lambda: bool(self.value("!window.Plotly || 'drawn' in document.documentElement.dataset")))

    def scheme(self, dark: bool, media: str = "") -> None:
        """Prefer light or dark, as a reader's system does."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"media": media, "features": [feature]})

    def picture(self, path: Path) -> Path:
        """The whole page as a PNG file."""
        answer = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
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
