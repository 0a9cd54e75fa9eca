"""Entrants that a person names: a method in settings of their own, from a small YAML file.

```yaml
logit-cold: {use: logit, temperature: 1.0, alpha: 1.0}
dist-and-layers: [dist, {use: hidden, weight: 0.1}]
without-data: {method: logit, data: {use: data_free}}   # a training's own data, as under `distill`
```
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd2deploy.errors import Fault, RecipeError
from kd2deploy.flows.compare.contest import Entrant
from kd2deploy.recipe import Distill, Recipe
from kd2deploy.recipe.methods import build_method
from kd2deploy.recipe.resolve import bind, known, short, values_in
from kd2deploy.train.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]{0,39}")
"""What stands in the name of a stage's folder."""


def seeded(file: Path, seeds: int) -> Recipe:
    """A recipe with so many seeds in place of its own. Raises RecipeError."""
    return Recipe.read(file).model_copy(update={"seeds": list(range(seeds))})


def own(file: Path | None) -> list[Entrant]:
    """The entrants of a file, each in one training; none without a file. Raises RecipeError with every fault."""
    if file is None:
        return []
    found = values_in(file, "--settings")
    if not isinstance(found, Mapping) or not found:
        message = f"{file} is a mapping of names to methods: `logit-cold: {{use: logit, temperature: 1.0}}`"
        raise RecipeError([Fault("--settings", message)])
    faults = [fault for name, asked in found.items() for fault in faults_of(str(name), asked, file.name)]
    if faults:
        raise RecipeError(faults)
    return [Entrant(str(name), (training(asked),)) for name, asked in found.items()]


def training(asked: Any) -> Distill:
    """Of a method, or of one with data of its own: `{method: ..., data: ...}`."""
    method, data = (asked["method"], asked.get("data")) if beside_data(asked) else (asked, None)
    return Distill(method=method, settings=Settings(), data=data)


def beside_data(asked: Any) -> bool:
    return isinstance(asked, Mapping) and "method" in asked


def faults_of(name: str, asked: Any, file: str) -> list[Fault]:
    path = f"{file}: {short(name)}"
    if not NAME.fullmatch(name):
        return [Fault(path, "is no name of an entrant: up to 40 letters, digits and . _ = -, the first no sign")]
    if name in known("method"):
        return [Fault(path, f"is a method's own name, which stands for its committed recipe; call it {name}-2")]
    if not beside_data(asked):
        return faults_of_method(asked, path)
    strange = [Fault(path, f"has {key}; beside `method` stands `data`") for key in asked.keys() - {"method", "data"}]
    if strange:
        return strange
    found = faults_of_method(asked["method"], path)
    if not isinstance(asked.get("data", ""), str | Mapping):
        return [*found, Fault(f"{path}.data", "is a data source: its name, or a mapping with `use`")]
    return found + (bind("data", asked["data"], f"{path}.data")[1] if "data" in asked else [])


def faults_of_method(method: Any, path: str) -> list[Fault]:
    try:
        build_method(method, path)
    except RecipeError as error:
        return list(error.faults)
    return []
