"""What each method makes of labels that do not exclude each other: it learns each, or is refused by name at once."""

from pathlib import Path
from typing import Any

import pytest
from contract import GROUPED, OF_ONE_CLASS, Case, outcome_of
from on_folders import bound, fitting, learns, pair_in
from tiny_models import SEVERAL, save_several

from kd2deploy.tasks.text_multilabel import TextMultilabel

ROWS: list[dict[str, Any]] = [
    {"text": "a good plot", "label": ["plot"]},
    {"text": "the film was slow, not fun", "label": ["fun", "slow"]},
    {"text": "fine", "label": None},
    {"text": "very fine", "label": []},
]
TASK = TextMultilabel(SEVERAL, max_length=12)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pair_in(tmp_path_factory.mktemp("networks"), save_several)


@pytest.mark.parametrize("case", fitting(), ids=str)
def test_every_method_learns_each_label_or_is_refused_by_name(case: Case, folders: Path) -> None:
    if case.method in OF_ONE_CLASS:
        with pytest.raises(ValueError, match=f"{case.method} compares classes that exclude each other.*use logit"):
            bound(case, TASK, folders, ROWS)
        return
    if str(case) in GROUPED:
        with pytest.raises(ValueError, match=f"{case.method} groups rows by their class.*set by_label: false"):
            bound(case, TASK, folders, ROWS)
        return
    assert learns(*bound(case, TASK, folders, ROWS))


def test_soft_targets_vanish_where_every_label_is_answered_alike(folders: Path) -> None:
    case = Case("logit", "", {})
    same, batch = bound(case, TASK, folders, ROWS, same=True)
    apart, _ = bound(case, TASK, folders, ROWS)
    assert outcome_of(same.eval(), batch).values["soft"].item() == pytest.approx(0, abs=1e-6)
    assert outcome_of(apart.eval(), batch).values["soft"].item() > 0.1
