"""The example notebook runs from its first cell to its last, and the repository holds it without outputs."""

import json
import os
from pathlib import Path

import pytest
from other_processes import PATIENCE_S

NOTEBOOK = Path(__file__).parent.parent.parent / "examples" / "compress.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 4
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.recipe
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's packages, not ours
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "nbclient and ipykernel are not installed: the notebook cannot be run"
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    nbformat = pytest.importorskip("nbformat", reason=reason)
    here = str(NOTEBOOK.parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH", "")))))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    patience = {"timeout": int(PATIENCE_S), "startup_timeout": int(PATIENCE_S)}
    nbclient.NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}, **patience
    ).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (shown,) = [output for output in code[1].outputs if output.output_type == "execute_result"]
    assert "<table>" in shown.data["text/html"]
    assert "".join(output.text for output in code[2].outputs if output.name == "stdout").count("\n") >= 3
    assert "SHA256SUMS" in code[3].outputs[-1].data["text/plain"]
    assert (tmp_path / "runs" / "notebook" / "report.html").is_file()
