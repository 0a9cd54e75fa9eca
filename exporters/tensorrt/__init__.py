"""TensorRT and TensorRT-RTX: engines made from ONNX on their device, and the session that runs them there."""

from kd2deploy.exporters.tensorrt.engine import trt_from_onnx
from kd2deploy.exporters.tensorrt.fp8 import fp8_from_onnx
from kd2deploy.exporters.tensorrt.session import OPENED_BY, TensorRTSession

__all__ = ["OPENED_BY", "TensorRTSession", "fp8_from_onnx", "trt_from_onnx"]
