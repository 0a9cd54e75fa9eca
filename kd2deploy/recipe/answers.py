"""A teacher by its answers: `teacher: {answers: file.parquet}`, and what such a teacher cannot be asked for."""

from typing import Annotated, Any

import pydantic

from kd2deploy.core.parts import Method
from kd2deploy.recipe.strict import STRICT

READ_LOGITS = "use a method that reads logits alone, such as logit, dist or dkd, or name the network under `from`"


class Answers(pydantic.BaseModel):
    """A file with a column of logits or of probabilities, a number for each class. Written short: the file's name."""

    model_config = STRICT
    file: str
    id: str | None = None
    """The column by which its rows and those of the data are one; left out, they are matched by what they hold."""
    logits: str | None = None
    """The column that holds them. Left out, it is called `logits` or `probabilities`."""
    probabilities: str | None = None
    labels: Annotated[list[str], pydantic.Field(min_length=2)] | None = None
    """The classes in the order of its numbers; the task's own order where they are left out."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def short(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str) else given

    @pydantic.model_validator(mode="after")
    def one_column(self) -> "Answers":
        if self.logits is not None and self.probabilities is not None:
            raise ValueError("names a column of `logits` and one of `probabilities`; keep one of them")
        if self.id in ("index", "label"):
            raise ValueError(f"`id` cannot be a column called {self.id!r}; name another")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError(f"`labels` names a class twice: {', '.join(self.labels)}")
        return self


def beyond_answers(method: Method) -> str | None:
    """What a method asks of its teacher beyond answers to the rows as they stand; None where that is nothing."""
    from kd2deploy.train.teacher_cache import unfit

    inner = {
        need
        for weighted in method.weighted.values()
        if "teacher" in weighted.term.needs
        for need in ("hidden", "attentions", "features", "embedding")
        if need in weighted.term.needs
    }
    if inner:
        return f"reads the teacher's {' and '.join(sorted(inner))}"
    return "asks the teacher about other rows than those of the data" if unfit(method) else None
