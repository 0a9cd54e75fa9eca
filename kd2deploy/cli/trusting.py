"""`--trust NAME`: the code of others that a bundle, a pack or a run may name."""

from typing import Annotated

import typer

from kd2deploy.cli.errors import errors_shown


def allow(names: list[str] | None) -> list[str] | None:
    """Trust what was named, before the command reads anything. Leaves with a user's error for what cannot be."""
    if names:
        with errors_shown():
            from kd2deploy.core.trust import trust

            trust(*names)
    return names


Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        callback=allow,
        help="Code of others that a bundle, pack or run may name: my_module.MySession. It is run.",
        show_default=False,
    ),
]
