"""kd2deploy: from a big model to a small, fast, deployed one, with proof.

`compress(recipe, folder)` is the whole pipeline; `Recipe.read(path)` reads a recipe. Names are imported when
first used, so that `import kd2deploy` stays light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kd2deploy.core.trust import trust
    from kd2deploy.errors import Kd2DeployError
    from kd2deploy.flows.compress import Result, compress
    from kd2deploy.recipe import Recipe
    from kd2deploy.recipe.resolve import usable_as
    from kd2deploy.report.report import Report

__version__ = "0.1.0"
__all__ = ["Kd2DeployError", "Recipe", "Report", "Result", "compress", "trust", "usable_as"]

HOMES = {
    "Kd2DeployError": "kd2deploy.errors",
    "Recipe": "kd2deploy.recipe",
    "Report": "kd2deploy.report.report",
    "Result": "kd2deploy.flows.compress",
    "compress": "kd2deploy.flows.compress",
    "trust": "kd2deploy.core.trust",
    "usable_as": "kd2deploy.recipe.resolve",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'kd2deploy' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    """What is public, also before it is imported."""
    return sorted({*globals(), *__all__})
