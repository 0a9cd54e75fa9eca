"""LiteRT: a .tflite file for phones and boards, made of the network itself, and the session that runs it by XNNPACK."""

from kd2deploy.exporters.litert.convert import litert_from_torch
from kd2deploy.exporters.litert.int8 import int8_from_litert
from kd2deploy.exporters.litert.session import OPENED_BY, LitertSession

__all__ = ["OPENED_BY", "LitertSession", "int8_from_litert", "litert_from_torch"]
