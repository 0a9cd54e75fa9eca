"""How an engine lies in a bundle, and how it is opened without this program."""

from kd2deploy.core.serving import Serving

CODE = """\
import pathlib

import tensorrt
import torch

runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
engine = runtime.deserialize_cuda_engine(pathlib.Path({file}).read_bytes())
context = engine.create_execution_context()
ports = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
inputs = [name for name in ports if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]


def run(feed):
    held = {name: torch.from_numpy(feed[name]).cuda() for name in inputs}
    for name, value in held.items():
        context.set_input_shape(name, tuple(value.shape))
    for name in ports:
        if name not in held:
            held[name] = torch.empty(tuple(context.get_tensor_shape(name)), dtype=torch.float32, device="cuda")
        context.set_tensor_address(name, held[name].data_ptr())
    context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()
    return {name: held[name].cpu().numpy() for name in ports if name not in inputs}
"""
SERVING = Serving("tensorrt/model.engine", code=CODE, rebuilt=True)
