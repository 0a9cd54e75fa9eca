"""Where the files lie that a network's inputs are read by: its tokenizer or its image processor."""

from pathlib import Path

from kd2deploy.core.members import networks_in

READS_BY = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")


def inputs_of(folder: Path) -> Path:
    """The folder itself; the first member's, of several networks with no such files at their top."""
    if any((folder / name).is_file() for name in READS_BY):
        return folder
    return networks_in(folder)[0]
