"""A .tflite file with its products in 8 bits, by LiteRT's own quantizer."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kd2deploy.core import Artifact, Feed, Target, Task, made
from kd2deploy.errors import ConvertError, first_line
from kd2deploy.exporters._cpu import intra_op_threads
from kd2deploy.exporters._quiet import quiet
from kd2deploy.exporters.litert.convert import MODEL
from kd2deploy.exporters.litert.session import OPENED_BY, REMEDY, LitertSession

Given = Mapping[str, Sequence[Mapping[str, np.ndarray[Any, Any]]]]
"""What each signature is run on."""


def int8_from_litert(
    source: Artifact,
    task: Task,
    target: Target,
    folder: Path,
    samples: Sequence[Feed],
    *,
    mode: Literal["dynamic", "static"] = "dynamic",
) -> Artifact:
    """The same file in 8 bits: `dynamic` rounds what is multiplied with ranges taken of each request, `static` all that
    can be, with ranges of the samples. What goes in and comes out stays as it is.

    Raises ConvertError where the file cannot be rounded.
    """
    quantizer_library()
    with LitertSession(source, task.ports, target) as session:
        given = session.portions(samples) if mode == "static" else {}
    content = source.path.read_bytes()
    try:
        # Its bars are drawn on the terminal whatever is asked.
        with quiet(), redirect_stderr(io.StringIO()):
            small = static(content, given, intra_op_threads(target)) if mode == "static" else dynamic(content)
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, LookupError) as error:
        raise ConvertError(f"LiteRT's quantizer cannot round the file: {first_line(error)}") from error
    path = folder / MODEL
    path.write_bytes(small)
    return made(
        path,
        OPENED_BY,
        parent=source,
        made_by="int8_from_litert",
        precision="int8",
        details={
            "versions": {"ai-edge-quantizer": version("ai-edge-quantizer")},
            "mode": mode,
            "from": dict(source.details),
        },
    )


def dynamic(content: bytes) -> bytes:
    """Weights in bytes with a scale per channel; what they are multiplied with is rounded at run time."""
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe import dynamic_wi8_afp32

    return rounded(Quantizer(content, dynamic_wi8_afp32()), None)


def static(content: bytes, given: Given, threads: int) -> bytes:
    """Weights and activations in bytes, with the smallest and the largest value that each has on what is `given`."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    recipe = RecipeManager()
    every = TFLOperationName.ALL_SUPPORTED
    recipe.add_static_config(regex=".*", operation_name=every, activation_num_bits=8, weight_num_bits=8)
    for border in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        recipe.add_quantization_config(regex=".*", operation_name=border, algorithm_key=AlgorithmName.NO_QUANTIZE)
    # Left alone it averages, with a weight of 0.95 for what came before: of few samples the first would decide.
    calibrator = Calibrator(content, num_threads=threads, qsv_update_func=min_max_update)
    calibrator.calibrate(given, recipe)
    return rounded(Quantizer(content, recipe.get_quantization_recipe()), calibrator.get_model_qsvs())


def rounded(quantizer: Any, ranges: Any) -> bytes:
    found = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(found.quantized_model)


def quantizer_library() -> None:
    """Raises ConvertError where LiteRT's quantizer is not installed."""
    try:
        with quiet():
            import ai_edge_quantizer  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConvertError(f"{error.name}, LiteRT's quantizer, is not installed: {REMEDY}") from error
