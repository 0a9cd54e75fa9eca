"""Where what is fetched or made once for all runs is kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$KD2DEPLOY_CACHE`, or the user's cache folder."""
    named = os.environ.get("KD2DEPLOY_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kd2deploy"
