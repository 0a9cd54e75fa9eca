"""The code on a bundle's card, run as a stranger runs it: in the bundle's folder, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path


def by_card(bundle: Path, variant: str, example: str, instead: str, *given: str | Path) -> list[str]:
    """The lines that the card's code prints with `instead` for its `example`; `given` are its arguments.

    The card opens the deployed file; here that of the `variant`, which is read and answers alike.
    """
    manifest = json.loads((bundle / "bundle.json").read_text())
    code = (bundle / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert "kd2deploy" not in code
    for old, new in ((repr(manifest["deployed"]["path"]), repr(manifest["variants"][variant])), (example, instead)):
        assert code.count(old) == 1
        code = code.replace(old, new)
    assert "onnxruntime.InferenceSession" in code
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", *map(str, given)],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
