"""Whether a chain of artifacts is one: each made from the very bytes of the one before."""

import itertools
from collections.abc import Sequence

from kd2deploy.core import Artifact
from kd2deploy.errors import SessionError


def breaches(chain: Sequence[Artifact]) -> tuple[str, ...]:
    """What makes a verdict on the last artifact of a chain INVALID: stale links and changed bytes, a sentence each."""
    found = []
    for artifact in chain:
        try:
            artifact.verify()
        except SessionError as error:
            found.append(str(error))
    for source, made in itertools.pairwise(chain):
        if made.parent != source.sha256:
            found.append(
                f"{made.path.name} is stale: it was made by {made.made_by or 'an unnamed converter'} from other bytes "
                f"({(made.parent or 'none')[:12]}) than {source.path.name} holds now ({source.sha256[:12]})"
            )
    return tuple(found)
