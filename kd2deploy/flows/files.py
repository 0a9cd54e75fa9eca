"""A target's variants of one network as files in a folder, without a run."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kd2deploy.core import Feed
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.combinations import refusal
from kd2deploy.flows.exported import remember
from kd2deploy.flows.given import Given, feeds_of, network
from kd2deploy.flows.pack import device_is_here, split_steps
from kd2deploy.recipe.resolve import load_target
from kd2deploy.run import readable_os_errors, versions
from kd2deploy.stages.convert import Exported, convert


def export_alone(model: str, out: Path, target_name: str, variants: Sequence[str] | None, given: Given) -> list[str]:
    """Write a target's variants of a network to a folder; a line for each. Raises ConvertError if none can be made."""
    target = load_target(target_name, "--target")
    unknown = [name for name in variants or () if name not in target.variants]
    if unknown:
        raise ConvertError(f"target {target.name} has no variant {unknown[0]!r}: {', '.join(target.variants)}")
    found = network(model, given.task, given.reading)
    samples = feeds_of(found, target, given, batch=8)
    made_with = samples_hash(samples, versions())
    made: dict[str, Exported] = {}
    lines, failed = [], []
    with readable_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name in variants or target.variants:
            variant = target.variants[name]
            steps, later = (variant.steps, ()) if device_is_here(target) else split_steps(variant)
            try:
                if refusal(target, variant) or not steps:
                    raise ConvertError(refusal(target, variant) or "runs the network as it is: nothing to export")
                one = convert(found, target, name, replace(variant, steps=steps), out, samples, made_with)
                made[name] = replace(one, session={}) if later else one  # the session's options are the last step's
                rest = f"; on the device: {', '.join(str(step['use']) for step in later)}" if later else ""
                size = f"{one.artifact.size_mb:.1f} MB, {one.artifact.precision}"
                lines.append(f"{name}: {one.artifact.path} ({size}){rest}")
            except (ConvertError, SessionError) as error:
                failed.append(f"{name}: left out, {error}")
        remember(out, found, made.values())
    if not lines:
        raise ConvertError("\n".join(failed))
    return lines + failed


def samples_hash(samples: Sequence[Feed], versions: Mapping[str, str]) -> str:
    """What a conversion depends on beside network and steps: the inputs that calibrate it, and the versions."""
    whole = hashlib.sha256(repr(sorted(versions.items())).encode())
    for feed in samples:
        for name, array in sorted(feed.items()):
            whole.update(f"{name}{array.dtype}{array.shape}".encode())
            whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()
