"""transformers.js by the how-to's own lines, in node and in Chromium, and onnxruntime-node: they answer as judged."""

import functools
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.clients.served import FILES, Answers, Served, check
from tests.other_processes import PATIENCE_S
from tests.report.browser import Browser, chromium

ONNXRUNTIME_NODE = """\
import { InferenceSession, Tensor } from "onnxruntime-node";
const session = await InferenceSession.create(FILE);
const answers = [];
for (const text of TEXTS) {
  const read = classify.tokenizer([text], { padding: true, truncation: true });
  const feeds = {};
  for (const name of session.inputNames) {
    const { data, dims } = read[name] ?? read.input_ids;
    feeds[name] = new Tensor("int64", name in read ? data : new BigInt64Array(data.length), dims);
  }
  const logits = Array.from((await session.run(feeds)).logits.data);
  const parts = logits.map((one) => Math.exp(one - Math.max(...logits)));
  const best = parts.indexOf(Math.max(...parts));
  answers.push({ label: LABELS[best], score: parts[best] / parts.reduce((a, b) => a + b) });
}
"""
TRANSFORMERS = """\
const answers = [];
for (const text of TEXTS) answers.push(...(await classify([text])));
const together = await classify(TEXTS.slice(0, 32));
answers.slice(0, 32).forEach((one, place) => {
  if (one.label !== together[place].label) throw Error(`padding changed ${TEXTS[place]}`);
});
"""
PAGE = """\
<!doctype html>
<script type="importmap">
{"imports": {"@huggingface/transformers": "/node_modules/@huggingface/transformers/dist/transformers.min.js"}}
</script>
<script type="module" src="/page.mjs"></script>
"""
pytestmark = pytest.mark.clients


def prepared(documented: str, models: str, dtype: str) -> str:
    """The how-to's lines without their example, for a place of models and a file."""
    code, _, _ = documented.partition("console.log")
    assert '"/models/"' in code
    assert 'dtype: "q8"' in code
    return code.replace('"/models/"', json.dumps(models)).replace('dtype: "q8"', f"dtype: {json.dumps(dtype)}")


def constants(served: Served, name: str) -> str:
    file = json.dumps(str(served.folder / FILES[name]))
    return f'const TEXTS = {json.dumps(served.texts)}, FILE = {file}, LABELS = ["neg", "pos"];\n'


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("client", [TRANSFORMERS, ONNXRUNTIME_NODE], ids=["transformers.js", "onnxruntime-node"])
def test_node_answers_as_judged(
    client: str, name: str, served: Served, node: str, node_modules: Path, documented: str, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(node_modules)
    code = prepared(documented, f"{served.folder.parent}/", name) + constants(served, name) + client
    (tmp_path / "client.mjs").write_text(code + 'console.log("\\n" + JSON.stringify(answers));\n', encoding="utf-8")
    done = subprocess.run([node, "client.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout.splitlines()[-1]), served, name)


@pytest.fixture
def site(served: Served, node_modules: Path, tmp_path: Path) -> Iterator[str]:
    """A server of this machine alone that has the bundle under /models and the packages under /node_modules."""
    (tmp_path / "node_modules").symlink_to(node_modules)
    (tmp_path / "models").symlink_to(served.folder.parent)
    (tmp_path / "index.html").write_text(PAGE)
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", FILES)
def test_chromium_answers_as_judged(
    name: str, served: Served, site: str, documented: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if chromium() is None:
        pytest.skip("no chromium on this machine: transformers.js cannot be tried in a browser")
    wasm = f'env.backends.onnx.wasm.wasmPaths = "{site}/node_modules/onnxruntime-web/dist/";\n'
    code = prepared(documented, "/models/", name).replace("env.allowRemote", wasm + "env.allowRemote", 1)
    (tmp_path / "page.mjs").write_text(code + constants(served, name) + TRANSFORMERS + "window.answers = answers;\n")
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        browser.value(f"location.href = {json.dumps(site + '/index.html')}")
        found = awaited(browser)
    check(found, served, name)


def awaited(browser: Browser) -> Answers:
    """What the page has found in the end; what it complains of otherwise."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = browser.value("window.answers ?? null")
        if found is not None:
            answers: Answers = found
            return answers
        assert not [said for said in browser.complaints() if "exceptionDetails" in said], browser.complaints()
        time.sleep(0.2)
    raise AssertionError(browser.complaints())
