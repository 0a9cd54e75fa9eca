"""A teacher by its answers, of a file (`teacher: {answers: file.parquet}`) or of a function (`{answers:
{ask: my_module.ask, returns: logits}}`), and what such a teacher cannot be asked for."""

from typing import Annotated, Any, Literal

import pydantic

from kd2deploy.core.parts import Method
from kd2deploy.recipe.strict import STRICT

READ_LOGITS = "use a method that reads logits alone, such as logit, dist or dkd, or name the network under `from`"


class Answers(pydantic.BaseModel):
    """A file with a column of logits or of probabilities, a number for each class, or a function that is asked for
    them. Written short: the file's name."""

    model_config = STRICT
    file: str | None = None
    id: str | None = None
    """The column by which its rows and those of the data are one; left out, they are matched by what they hold."""
    logits: str | None = None
    """The column that holds them. Left out, it is called `logits` or `probabilities`."""
    probabilities: str | None = None
    labels: Annotated[list[str], pydantic.Field(min_length=2)] | None = None
    """The classes in the order of its numbers; the task's own order where they are left out."""
    ask: str | dict[str, Any] | None = None
    """A function of the user's own that answers rows: its name, or a `use:` block with its arguments."""
    returns: Literal["logits", "probabilities"] | None = None
    """What the function returns."""
    batch: pydantic.PositiveInt | None = None
    """How many rows it is handed at once."""

    @property
    def whence(self) -> str:
        """The file, or the name of the function."""
        return self.file or str(self.ask if isinstance(self.ask, str) else (self.ask or {}).get("use"))

    @property
    def at_once(self) -> int:
        """Rows that a function is handed at a time. 32 where nothing is said is ours: what services take at once."""
        return self.batch or 32

    @property
    def known(self) -> dict[str, Any]:
        """What they are by, but for the file's name: its contents count. A function stands in a `use:` block, as which
        it counts by its source too."""
        block = {"use": self.ask} if isinstance(self.ask, str) else self.ask
        return {**self.model_dump(mode="json", exclude={"file", "batch"}), "ask": block}

    @pydantic.model_validator(mode="before")
    @classmethod
    def short(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str) else given

    @pydantic.model_validator(mode="after")
    def one_source(self) -> "Answers":
        if (self.file is None) == (self.ask is None):
            raise ValueError("needs a `file` of answers or a function to `ask`, and not both")
        of_other = OF_FILE if self.ask is not None else OF_FUNCTION
        if odd := [name for name in of_other if getattr(self, name) is not None]:
            what = "a column of a file, and a function is asked" if self.ask is not None else "for a function"
            raise ValueError(f"`{odd[0]}` is {what}; leave it out")
        if self.ask is not None and self.returns is None:
            raise ValueError("does not say what the function `returns`: logits or probabilities")
        return self

    @pydantic.model_validator(mode="after")
    def one_column(self) -> "Answers":
        if self.logits is not None and self.probabilities is not None:
            raise ValueError("names a column of `logits` and one of `probabilities`; keep one of them")
        if self.id in ("index", "label"):
            raise ValueError(f"`id` cannot be a column called {self.id!r}; name another")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError(f"`labels` names a class twice: {', '.join(self.labels)}")
        return self


OF_FILE, OF_FUNCTION = ("id", "logits", "probabilities"), ("returns", "batch")


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
