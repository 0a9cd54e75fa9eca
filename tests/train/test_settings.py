"""Settings are checked where they are made, and every message names the setting."""

import pytest
from pydantic import TypeAdapter, ValidationError

from kd2deploy.train.settings import Settings


def test_the_defaults_are_accepted():
    assert Settings().keep == "best"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be positive, got 0"),
        ({"learning_rate": -1e-5}, "learning_rate must be positive"),
        ({"batch": 0}, "batch must be positive"),
        ({"accumulate": 0}, "accumulate must be positive"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"max_grad_norm": -1}, "max_grad_norm must not be negative"),
        ({"warmup": 1.0}, "warmup is a share of the steps"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ({"parts_learning_rate": 0.0}, "parts_learning_rate must be positive, or null"),
        ({"patience": 0}, "patience must be positive, or null"),
        ({"score_every": 0}, "score_every is a positive number of optimizer steps or 'epoch'"),
        ({"checkpoint_every": "day"}, "checkpoint_every is a positive number of optimizer steps or 'epoch'"),
        ({"schedule": "sawtooth"}, "schedule is one of linear, cosine, constant, drops, got 'sawtooth'"),
        ({"schedule": "drops"}, "drops are shares of the steps between 0 and 1, for `schedule: drops` alone, got None"),
        ({"drops": [0.5]}, "drops are shares of the steps"),
        ({"schedule": "drops", "drops": [0.5, 1.0]}, "drops are shares of the steps"),
        ({"drop_to": 0.0}, "drop_to is a share, above 0 and at most 1"),
        ({"optimizer": "adam"}, "optimizer is one of adamw, sgd"),
        ({"precision": "int8"}, "precision is one of auto, fp32, bf16, fp16"),
        ({"quantize": "int4"}, "quantize is one of none, int8, int8_symmetric, got 'int4'"),
        ({"keep": "first"}, "keep is one of best, last"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(wrong, message):
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)


def test_a_recipe_may_not_misspell_a_setting():
    with pytest.raises(ValidationError, match="learning_rat"):
        TypeAdapter(Settings).validate_python({"learning_rat": 1e-4})
