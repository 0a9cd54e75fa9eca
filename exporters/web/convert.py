"""An ONNX file with all that a page needs to run it: the file, ONNX Runtime Web, and a script that opens it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kd2deploy.core import Artifact, Feed, Target, Task, made
from kd2deploy.errors import ConvertError
from kd2deploy.exporters import _parity
from kd2deploy.exporters.onnx.checking import run_all
from kd2deploy.exporters.onnx.files import load
from kd2deploy.exporters.web.runtime import VERSION, runtime_files
from kd2deploy.exporters.web.session import MODEL, PAGE, WebSession

OPENED_BY = "kd2deploy.exporters.web.WebSession"


def web_from_onnx(source: Artifact, task: Task, target: Target, folder: Path, samples: Sequence[Feed]) -> Artifact:
    """A folder that any web server can serve as it is: `model.onnx`, ONNX Runtime Web's files for the processor and
    `page.js`, which opens the one with the other.

    It is checked in a browser against its source. Raises ConvertError where the two disagree, where the weights lie
    beside the file (a page loads one), or where npm cannot bring the runtime.
    """
    import onnx

    whole = load(source.path)
    try:
        onnx.save(whole, folder / MODEL)
    except ValueError:
        raise ConvertError("the graph is larger than one file can be (2 GB), and a page loads one file") from None
    for file in (*runtime_files(), Path(__file__).with_name(PAGE)):
        shutil.copyfile(file, folder / file.name)
    artifact = made(
        folder,
        OPENED_BY,
        parent=source,
        made_by="web_from_onnx",
        precision=source.precision,
        details={"versions": {"onnxruntime-web": VERSION}, "from": dict(source.details)},
    )
    reference = run_all(source.path, task, target, samples)
    with WebSession(artifact, task.ports, target) as session:
        found = [session.run(feed) for feed in samples]
    if said := _parity.disagreement(task, reference, found, source.precision):
        raise ConvertError(f"the browser disagrees: {said}")
    return artifact
