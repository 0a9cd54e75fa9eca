"""How the teacher's answers are kept: `teacher_cache: auto`, or `{use: auto, top: 10, precision: float16}`."""

from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from kd2deploy.recipe.strict import STRICT

Use = Literal["auto", "on", "off"]


class Caching(pydantic.BaseModel):
    """Whether the teacher's answers are kept, and how much of them. Written short: `auto`, `on` or `off`."""

    model_config = STRICT
    use: Use = "auto"
    top: int | None = pydantic.Field(None, ge=1)
    """Keep so many of the likeliest classes; all of them when left out."""
    precision: Literal["float32", "float16"] = "float32"

    @pydantic.model_validator(mode="before")
    @classmethod
    def short(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {**given, "use": word(given["use"])} if "use" in given else given
        return {"use": word(given)}

    @pydantic.model_serializer(mode="wrap")
    def shortest(self, whole: pydantic.SerializerFunctionWrapHandler) -> Any:
        return whole(self) if self.top is not None or self.precision != "float32" else self.use


def word(given: Any) -> Any:
    """`on` and `off` are words here, which YAML takes for true and false."""
    return {True: "on", False: "off"}[given] if isinstance(given, bool) else given
