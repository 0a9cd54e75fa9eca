"""The bundle is made once for all clients: a training of seconds and two exports."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.clients.served import Served, serve

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where the packages of package.json were installed: in $KD2DEPLOY_NODE, or here."""
    place = Path(os.environ.get("KD2DEPLOY_NODE", HERE)) / "node_modules"
    wanted: dict[str, str] = json.loads((HERE / "package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        file = place / name / "package.json"
        if not file.is_file():
            pytest.skip(f"no {name} in {place}: npm install --ignore-scripts --no-package-lock, in tests/clients")
        assert json.loads(file.read_text())["version"] == version
    return place


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node on this machine: the JavaScript clients cannot run")
    return found


@pytest.fixture(scope="session")
def documented() -> str:
    """The how-to's own lines for transformers.js."""
    text = (HERE.parents[1] / "docs/how-to.md").read_text(encoding="utf-8")
    return text.split("```js\n", 1)[1].split("```", 1)[0]
