"""The code on a bundle's card, run as a stranger runs it: in the bundle's folder, in a process of its own."""

import subprocess
import sys
from pathlib import Path


def by_card(bundle: Path, example: str, instead: str, *given: str | Path) -> list[str]:
    """The lines that the card's code prints with `instead` for its `example`; `given` are its arguments."""
    code = (bundle / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert "onnxruntime" in code
    assert "kd2deploy" not in code
    assert code.count(example) == 1
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + code.replace(example, instead), *map(str, given)],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
