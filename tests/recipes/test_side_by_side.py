"""Exports in processes of their own: the same files as one after the other, what they share made once, timed alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from other_processes import at_work
from recipes.small_run import recipe

from kd2deploy.core.artifact import sha256_of
from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe
from kd2deploy.stages import export

pytestmark = pytest.mark.recipe

VARIANTS = ["onnx", "onnx-int8", "onnx-qdq"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("side_by_side")


@pytest.fixture(scope="module")
def runs(folder: Path) -> tuple[Path, Path]:
    """The same networks exported one after the other, and two at a time."""
    wanted = Recipe.parse(recipe(folder, variants=VARIANTS, control=False))
    compress(wanted, folder / "trained", until="distill")
    shutil.copytree(folder / "trained", folder / "beside")
    beside: list[set[Any]] = []
    fastest_of = export.fastest_of

    def watched(*given: Any, **named: Any) -> Any:
        beside.append(at_work())
        return fastest_of(*given, **named)

    before = at_work()
    with pytest.MonkeyPatch.context() as moment:
        moment.setattr(export, "fastest_of", watched)
        compress(wanted, folder / "trained", until="export")
        compress(wanted, folder / "beside", until="export", jobs=2)
    assert beside == [before, before], "nothing is timed beside anything else"
    return folder / "trained", folder / "beside"


def files(run: Path) -> dict[str, str]:
    """Hashes of the converted files, by stage, fingerprint included, and place."""
    return {
        one.relative_to(run / "stages").as_posix(): sha256_of(one)
        for one in (run / "stages").glob("convert-*/*/*.onnx")
    }


def results(run: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text())["result"] for file in sorted((run / "stages").glob(f"{name}-*/stage.json"))]


def test_the_files_are_the_same_to_the_bit(runs: tuple[Path, Path]) -> None:
    one, other = map(files, runs)
    assert one == other
    assert {name.split("/")[1].rsplit("-", 1)[0] for name in one} == {"onnx_from_torch", "int8_from_onnx"}
    scores = [[list(found["variants"]) for found in results(run, "convert-cpu-onnx*")] for run in runs]
    assert scores[0] == scores[1] == [["onnx"], ["onnx-int8"], ["onnx-qdq"]]


def test_how_far_each_variant_came_is_kept(runs: tuple[Path, Path]) -> None:
    for run in runs:
        (found,) = results(run, "export-cpu")
        assert [one["name"] for one in found["tried"]] == VARIANTS
        assert [one["name"] for one in found["tried"] if one["fate"] == "deployed"] == [found["chosen"]]
        assert all(one["score"] is not None and one["precision"] for one in found["tried"])


def test_what_variants_begin_with_is_made_once(runs: tuple[Path, Path]) -> None:
    for run in runs:
        graphs = list((run / "stages").glob("convert-cpu*/onnx_from_torch-*/*.onnx"))
        assert len(graphs) == 1 + len(VARIANTS)
        assert len({file.stat().st_ino for file in graphs}) == 1
