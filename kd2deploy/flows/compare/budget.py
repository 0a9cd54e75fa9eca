"""What every method of a comparison may spend: as many optimizer steps, or as much time."""

from collections.abc import Sequence

from kd2deploy.errors import RunError
from kd2deploy.flows.compare.contest import BASELINE, Contest, Entrant, Plans, train_all
from kd2deploy.report.formats import seconds as in_words
from kd2deploy.stages.budget import steps_in, within
from kd2deploy.stages.job import Job


def at_equal_steps(job: Job, entrants: Sequence[Entrant], steps: int) -> Plans:
    """Each method's trainings, so many steps in all, under the recipe's own settings: learning rate, batch and the rest
    are the same for all."""
    settings, rows = job.recipe.distill[0].settings, len(job.splits.train)
    return {one.name: within(steps, one.trainings, settings, rows) for one in entrants}


def at_equal_time(contest: Contest, entrants: Sequence[Entrant], plans: Plans) -> Plans:
    """Each method's trainings within the time that plain logit takes, its own set-up included.

    It starts from a whole training of each method at equal steps, with the first seed: what it takes there before the
    first step and then per step, generator's turns and second stages included, decides how many steps fit. A method
    whose set-up alone takes longer is left out. Raises RunError where one was trained beside others.
    """
    job = contest.job
    probe = Contest(job, contest.teacher, contest.start, contest.steps, left_out=contest.left_out)
    seed = job.recipe.seeds[0]
    train_all(probe, plans, [seed], "timing, ")
    timed = {name: found[seed] for name, found in probe.outings.items()}
    beside = [name for name, one in timed.items() if one.distilled.at_a_time > 1]
    if beside:
        raise RunError(
            f"{beside[0]} was trained beside others here (--jobs), so that its time says nothing; compare at equal "
            "time in another folder (--out)"
        )
    contest.budget_s = allowed = timed[BASELINE].setup_s + timed[BASELINE].seconds
    fitting: Plans = {}
    for one in entrants:
        if one.name not in timed:
            continue
        took = timed[one.name]
        if took.setup_s >= allowed:
            contest.left_out[one.name] = (
                f"its set-up alone takes {in_words(took.setup_s)} and the whole budget is {in_words(allowed)}; give "
                "the recipe's trainings more epochs, name a generator, or compare at equal steps"
            )
            continue
        fitting |= at_equal_steps(job, [one], steps_in(allowed - took.setup_s, took.step_s))
    return fitting
