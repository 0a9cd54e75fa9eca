"""Inputs made of the teacher alone, in place of a run's training rows: a generator's, and variants that diffusion makes
of them."""

from typing import Any

from kd2deploy.core.figures import count_of
from kd2deploy.data.tables import Made
from kd2deploy.errors import DataError


def data_free(
    rounds: int = 400,
    made: int = 200,
    steps: int = 500,
    variants: int = 2,
    least: float = 0.7,
    strength: float = 0.5,
    variation: str | None = None,
) -> Made:
    """For the `data` of a training, most of all of the method of the same name. Raises DataError.

    `rounds` generators one after the other, each trained for `steps` steps, make `made` inputs each; the teacher's
    batch normalizations and random labels say what they should be. `variants` of each are made by the model named as
    `variation` (a pipeline of diffusers: its folder or hub id), or else by a small one that learns from these inputs;
    kept are those whose embedding, to the teacher, has a cosine of at least `least` to that of what they are made of.
    `strength`, 0..1, says how far they go. No row of the run's training data is read.

    `rounds`, `made` and `steps` are the authors'. How many variants, how strong and how alike they must be is ours.
    """
    for name, value, holds, rule in (
        ("rounds", rounds, rounds >= 1, "at least 1"),
        ("made", made, made >= 2, "at least 2, for one input alone has no statistics"),
        ("steps", steps, steps >= 1, "at least 1"),
        ("variants", variants, variants >= 0, "0 or more"),
        ("least", least, -1 <= least <= 1, "a cosine, from -1 to 1"),
        ("strength", strength, 0 < strength <= 1, "above 0 and at most 1"),
    ):
        if not holds:
            raise DataError(f"data_free: {name} must be {rule}, got {value:g}")
    inputs = rounds * made
    foretold = f"{count_of(inputs, 'input')} of a generator in {count_of(rounds, 'round')} of {count_of(steps, 'step')}"
    if variants:
        foretold += f", and those of their {count_of(inputs * variants, 'variant')} that stay like them"
    options: dict[str, Any] = {"rounds": rounds, "made": made, "steps": steps, "variants": variants}
    options |= {"least": least, "strength": strength, "variation": variation}
    return Made("kd2deploy.stages.bank.made_bank", options, foretold=foretold, of_noise=True)
