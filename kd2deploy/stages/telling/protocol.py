"""How a report says that its latencies were measured: what another laboratory needs to repeat them."""

from kd2deploy.core import Target
from kd2deploy.core.figures import count_of, percent
from kd2deploy.measure.protocol import CROWDED_SHARE, full
from kd2deploy.measure.timing import Timing
from kd2deploy.recipe import Recipe
from kd2deploy.report import Plain
from kd2deploy.stages.measure import throughput_s

BASELINES = {
    "eager": "the teacher in eager PyTorch",
    "same_runtime": "the teacher, deployed as the student is",
    "best_file": "the teacher as its own fastest file",
}


def how(recipe: Recipe, target: Target, deployed: Timing | None) -> dict[str, Plain]:
    """In words and numbers, of the deployed artifact where contenders differ."""
    plan, wanted, workload = full(), recipe.measurement, target.workload
    return {
        "clock": "the host's, around one blocking request",
        "order": f"in turn and back, {wanted.block_s:g} s each; another order in every round and process",
        "fresh processes per contender": wanted.processes,
        "rounds": len({(block.process, block.round) for block in deployed.blocks}) if deployed else None,
        "threads": deployed.threads if deployed else None,
        "longest time per contender (s)": wanted.cap_s,
        "ended": deployed.decision if deployed else None,
        "rows per request": workload.batch,
        "requests drawn from the evaluation set": workload.inputs,
        "throughput": f"{throughput_s(recipe, target):g} s per process, warmed, last of all, while the others wait",
        "requests in flight": workload.in_flight,
        "whole requests": f"after that, in the same processes and orders, for {percent(plan.end_to_end_share)} of the "
        "rounds' time; rows are read as a bundle reads them"
        if wanted.end_to_end
        else None,
        "busy neighbour": f"after these, in the same processes and orders, for {percent(CROWDED_SHARE)} of the rounds' "
        "time: another process with one thread of matrix products"
        if wanted.neighbour
        else None,
        "warm-up": f"at least {plan.warm_s:g} s and {count_of(plan.warm_runs, 'run')}, then {plan.block_warm_s:g} s in "
        "every turn",
        "min_speedup divides": BASELINES[target.gates.against],
    }
