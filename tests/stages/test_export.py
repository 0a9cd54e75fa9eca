"""Which variant is deployed, and what is said of those that lost too much."""

from pathlib import Path

from kd2deploy.core import Artifact
from kd2deploy.stages.export import Exported, choose


def exported(name: str, precision: str, score: float, ms: float) -> Exported:
    artifact = Artifact(Path(name), "0", "none", precision=precision)
    return Exported(name, (), artifact, score=score, median_ms=ms)


def test_the_fastest_that_keeps_the_score_is_deployed() -> None:
    made = {one.name: one for one in (exported("fp32", "fp32", 0.9, 3.0), exported("int8", "int8", 0.9, 1.0))}
    assert choose(made, 0.89) == ("int8", "the fastest of 2 that keep the student's score on the validation rows")


def test_int8_that_lost_too_much_brings_the_advice_to_train_with_rounding() -> None:
    made = {one.name: one for one in (exported("fp32", "fp32", 0.9, 3.0), exported("int8", "int8", 0.5, 1.0))}
    chosen, why = choose(made, 0.89)
    assert chosen == "fp32"
    assert "int8 lost too much: a last training with `quantize: int8` may win it back" in why
    chosen, why = choose(made, 0.95)
    assert chosen == "fp32"
    assert "this one keeps most of it; int8 lost" in why
