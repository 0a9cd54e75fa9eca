"""Who wrote a bundle: a detached signature in OpenSSF's model signing format, by a key that the writer keeps.

`SHA256SUMS` proves that a folder is whole. Whoever changes the folder can write it anew; without the private key nobody
can write the signature anew. It lies in the bundle as `model.sig` and is read by `model_signing verify` too.
"""

from pathlib import Path
from typing import Any

from kd2deploy.core.reading import text_of
from kd2deploy.errors import SessionError, TrustError
from kd2deploy.exporters.bundle import KEPT_BESIDE, SIGNATURE, verify_sums


def sign(folder: Path, key: Path, password: str | None = None) -> Path:
    """Sign a bundle or a pack that is whole, by the elliptic-curve private key in a PEM file; the signature's file.

    Raises SessionError for a folder that is not whole, TrustError for a key that cannot sign.
    """
    library = _library()
    verify_sums(folder)
    text_of(key, TrustError)
    signer = library.signing.Config().set_hashing_config(_hashing(library))
    place = folder / SIGNATURE
    try:
        signer.use_elliptic_key_signer(private_key=key, password=password).sign(folder, place)
    except (ValueError, TypeError, OSError) as error:
        raise TrustError(f"{key} cannot sign ({_said(error)}); it must be an EC private key in PEM form") from error
    return place


def verify(folder: Path, key: Path | None = None) -> bool:
    """Whether a folder that is whole is signed by the holder of a public key; False where no key is given.

    Raises SessionError where it is not whole or not signed, TrustError where another key or another folder was signed.
    """
    verify_sums(folder)
    if key is None:
        return False
    library, place = _library(), folder / SIGNATURE
    if not place.is_file():
        raise SessionError(f"{folder} is not signed (it has no {SIGNATURE}); ask its writer to sign it")
    text_of(key, TrustError)
    verifier = library.verifying.Config().set_hashing_config(_hashing(library))
    try:
        verifier.use_elliptic_key_verifier(public_key=key).verify(folder, place)
    # The library raises what its parsers of keys, JSON and protobuf raise; any of them means that nothing was proved.
    except Exception as error:
        raise TrustError(f"{folder} was not signed as it is by the holder of {key}: {_said(error)}") from error
    return True


def _hashing(library: Any) -> Any:
    """Every file of the folder but the signature, and what may stand beside."""
    return library.hashing.Config().set_ignored_paths(paths=sorted({SIGNATURE, *KEPT_BESIDE}), ignore_git_paths=False)


def _library() -> Any:
    try:
        import model_signing
    except ImportError as error:
        raise TrustError("signing needs the package model-signing; pip install 'kd2deploy[signing]'") from error
    return model_signing


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
