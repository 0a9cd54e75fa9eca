"""What other libraries make of a network by their own documented ways, in the environment that runs this file.

    python benchmarks/_peers.py NETWORK OUT SAMPLES --task text-classification

NETWORK is a folder of transformers, SAMPLES one of .npz files with a request each. It needs optimum-onnx, nncf and
openvino, unmodified, and nothing of this project. Each artifact is a folder or file in OUT, and `made.json` says what
failed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def optimum_fp32(given: argparse.Namespace, out: Path) -> str:
    command = ["-m", "optimum.exporters.onnx", "--model", str(given.network), "--task", given.task, str(out)]
    subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    return "model.onnx"


def optimum_int8(given: argparse.Namespace, out: Path) -> str:
    """Dynamic, by optimum's configuration for AVX-512 VNNI, per tensor as is its default."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    config = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    ORTQuantizer.from_pretrained(given.out / "optimum_fp32", file_name="model.onnx").quantize(
        save_dir=out, quantization_config=config
    )
    return "model_quantized.onnx"


def openvino_fp32(given: argparse.Namespace, out: Path) -> str:
    """optimum's graph as OpenVINO reads it; which type it computes in is said when it is opened."""
    import openvino

    model = openvino.convert_model(given.out / "optimum_fp32" / "model.onnx")
    openvino.save_model(model, out / "openvino_model.xml", compress_to_fp16=False)
    return "."


def nncf_int8(given: argparse.Namespace, out: Path) -> str:
    """Post-training quantization as NNCF documents it: for transformers with smooth quantization."""
    import nncf
    import openvino

    feeds = [dict(np.load(file)) for file in sorted(given.samples.glob("*.npz"))]
    model = openvino.convert_model(given.out / "optimum_fp32" / "model.onnx")
    kind = nncf.ModelType.TRANSFORMER if given.transformer else None
    small = nncf.quantize(model, nncf.Dataset(feeds), model_type=kind, subset_size=len(feeds))
    openvino.save_model(small, out / "openvino_model.xml", compress_to_fp16=False)
    return "."


MADE: tuple[Callable[[argparse.Namespace, Path], str], ...] = (optimum_fp32, optimum_int8, openvino_fp32, nncf_int8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--task", required=True)
    parser.add_argument("--transformer", action="store_true")
    given = parser.parse_args()
    said = {}
    for make in MADE:
        out = given.out / make.__name__
        out.mkdir(parents=True)
        try:
            said[make.__name__] = {"file": make(given, out)}
        except Exception as error:  # a peer may fail in any way, and the others are compared all the same
            last = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
            said[make.__name__] = {"failed": last[-1][:200] if last else type(error).__name__}
    (given.out / "made.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
