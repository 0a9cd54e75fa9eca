"""Browsers: an ONNX file with ONNX Runtime Web beside it, and the session that runs it in headless Chromium."""

from kd2deploy.exporters.web.convert import OPENED_BY, web_from_onnx
from kd2deploy.exporters.web.session import WebSession

__all__ = ["OPENED_BY", "WebSession", "web_from_onnx"]
