"""ONNX: export from PyTorch, fusion for ONNX Runtime, 16 bits, and the session that runs any of them."""

from kd2deploy.exporters.onnx.export import onnx_from_torch
from kd2deploy.exporters.onnx.files import OPENED_BY
from kd2deploy.exporters.onnx.fusion import fused_from_onnx
from kd2deploy.exporters.onnx.half import fp16_from_onnx
from kd2deploy.exporters.onnx.session import OnnxSession, Running

__all__ = ["OPENED_BY", "OnnxSession", "Running", "fp16_from_onnx", "fused_from_onnx", "onnx_from_torch"]
