"""Upload a bundle to a model hub: whole, checked byte by byte, private unless asked otherwise."""

import re
from pathlib import Path

from kd2deploy.core.figures import count_of
from kd2deploy.errors import RunError, first_line
from kd2deploy.exporters.bundle import MANIFEST, verify_sums

NAMES_A_PLACE = re.compile(r"(?<![\w./:~-])/(?:[\w.+-]+/)+[\w.+-]+")
TELLING = ("recipe.yaml", "report.json")
"""Files of a bundle that hold what the user typed, paths among it."""


def push(folder: Path, name: str, *, public: bool = False, dry_run: bool = False) -> list[str]:
    """Upload the bundle in `folder` as `name` (`user/name`), and say so in lines.

    A dry run needs no network: it checks the bundle and the name and lists what would be uploaded. Raises RunError
    where the hub cannot be reached or refuses, and SessionError for a bundle that was changed.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if not (folder / MANIFEST).is_file():
        raise RunError(f"{folder} is not a bundle: it has no {MANIFEST}; give the folder that a run wrote")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise RunError(f"{name!r} cannot be a model's name: {first_line(error)}; give user/name") from None
    if "/" not in name:
        raise RunError(f"{name!r} names no owner; give user/name")
    verify_sums(folder)
    lines = [*listed(folder), *warned(folder)]
    if dry_run:
        return [*lines, f"nothing was uploaded; without --dry-run this becomes {name} ({kind(public)})"]
    return [*lines, f"uploaded {kind(public)}: {uploaded(folder, name, public)}"]


def listed(folder: Path) -> list[str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    lines = [f"{file.stat().st_size / 1e6:10.3f} MB  {file.relative_to(folder).as_posix()}" for file in files]
    return [*lines, f"{sum(file.stat().st_size for file in files) / 1e6:10.3f} MB  in {count_of(len(files), 'file')}"]


def warned(folder: Path) -> list[str]:
    """A line for each file that names a place of this machine."""
    found = []
    for name in TELLING:
        file = folder / name
        place = NAMES_A_PLACE.search(file.read_text(encoding="utf-8")) if file.is_file() else None
        if place is not None:
            found.append(f"warning: {name} names places of this machine ({place.group()}), and goes along as it stands")
    return found


def uploaded(folder: Path, name: str, public: bool) -> str:
    """The address of the model. Tokens are the hub library's own: `hf auth login`, or HF_TOKEN."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        hub = HfApi()
        hub.create_repo(name, private=not public, exist_ok=True)
        hub.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload a bundle")
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        raise RunError(
            f"the hub refused {name}: {first_line(error)}; log in with `hf auth login`, or set HF_TOKEN to a token "
            "that may write there"
        ) from error
    except (httpx.HTTPError, OSError) as error:
        raise RunError(f"the hub cannot be reached ({first_line(error)}); try again with a network") from error
    return f"https://huggingface.co/{name}"


def kind(public: bool) -> str:
    return "public" if public else "private"
