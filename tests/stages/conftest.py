"""The made-up field, for the tests of who is asked for, of the judge and of what is told."""

from pathlib import Path

import pytest
from stages.small_field import made_field

from kd2deploy.stages.field import Field


@pytest.fixture
def field(tmp_path: Path) -> Field:
    return made_field(tmp_path)
