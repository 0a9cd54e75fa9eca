"""What users compose: several methods with weights that change, two tokenizers, several seeds, a cached teacher."""

from pathlib import Path

import pytest
from recipes.small_run import recipe
from tiny_models import WORDS, save_encoder, save_tokenizer

from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe

pytestmark = pytest.mark.recipe


def test_two_tokenizers_two_seeds_and_two_methods_then_a_cached_teacher(tmp_path: Path) -> None:
    other = save_encoder(tmp_path / "other", layers=2, seed=3)
    save_tokenizer(other, words=WORDS[::-1])
    hidden = {"use": "hidden", "compare": "pooled", "layers": [[1, 2], [2, 4]]}
    settings = {"epochs": 1, "batch": 16, "learning_rate": 5e-3}
    composed = [{**hidden, "weight": {"start": 1, "end": 0}}, {"use": "contrastive", "weight": 0.5}]
    changes = {"student": {"from": str(other)}, "seeds": [0, 1], "control": False}
    found = recipe(tmp_path, **changes, distill=[{"method": composed, **settings}])
    (result,) = compress(Recipe.parse(found), tmp_path / "run", until="distill")
    assert len(result.students) == 2
    students = [curve for curve in result.report.curves if curve.role == "student"]
    assert [curve.seed for curve in students] == [0, 1]
    for curve in students:
        names = set(curve.points[-1].losses)
        assert {name.partition("_")[0] for name in names} == {"loss", "hidden", "contrastive"}
    assert result.report.layer_map is not None
    assert result.report.layer_map.pairs == (("1", "2"), ("2", "4"))

    found |= {"teacher_cache": "on", "seeds": [0], "distill": [{"method": "contrastive", **settings}]}
    (cached,) = compress(Recipe.parse(found), tmp_path / "run", until="distill")
    assert cached.students[0] not in result.students
    assert [stage.reused for stage in cached.report.stages if stage.name == "teacher"] == [True]
