"""Texts read on an inference server: a python model of NVIDIA Triton that makes tokens of strings."""

from collections.abc import Sequence

ROUND = 16
"""Lengths are rounded up to a multiple of it: a server merges requests of equal lengths alone. Ours."""
MODEL = '''"""Tokens of texts, for NVIDIA Triton's python backend: `pip install tokenizers` into its Python."""

from pathlib import Path

import numpy
import triton_python_backend_utils as server
from tokenizers import Tokenizer

FIELDS, INPUTS, LONGEST, ROUND = {fields}, {inputs}, {longest}, {round}


class TritonPythonModel:
    def initialize(self, args):
        self.tokenizer = Tokenizer.from_file(str(Path(__file__).parent / "tokenizer.json"))  # cuts as it was judged

    def execute(self, requests):
        """One answer per request; what came together is padded to one length, so that it may go on together."""
        given = [list(zip(*[self.strings(request, name) for name in FIELDS])) for request in requests]
        texts = [row if len(FIELDS) > 1 else row[0] for rows in given for row in rows]
        found = self.tokenizer.encode_batch(texts)
        length = min(LONGEST, -(-max(len(one.ids) for one in found) // ROUND) * ROUND)
        pad = self.tokenizer.padding
        for one in found:
            one.pad(length, pad_id=pad["pad_id"], pad_token=pad["pad_token"])
        arrays = {{
            "input_ids": [one.ids for one in found],
            "attention_mask": [one.attention_mask for one in found],
            "token_type_ids": [one.type_ids for one in found],
        }}
        whole = {{name: numpy.array(arrays[name], dtype=numpy.int64) for name in INPUTS}}
        answers, first = [], 0
        for rows in given:
            parts = [server.Tensor(name, whole[name][first : first + len(rows)]) for name in INPUTS]
            answers.append(server.InferenceResponse(output_tensors=parts))
            first += len(rows)
        return answers

    def strings(self, request, name):
        found = server.get_input_tensor_by_name(request, name).as_numpy()
        return [text.decode("utf-8") for text in found.reshape(-1)]
'''


def server_code(fields: Sequence[str], inputs: Sequence[str], longest: int) -> str:
    """Source of the model: strings `fields` to the network's `inputs`, of at most `longest` tokens."""
    return MODEL.format(fields=list(fields), inputs=list(inputs), longest=longest, round=ROUND)
