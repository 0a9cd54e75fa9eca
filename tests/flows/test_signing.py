"""A signature tells who wrote a bundle: changed, added to, signed by another or not at all, it proves nothing."""

from pathlib import Path

import pytest
from small_bundle import small_bundle
from typer.testing import CliRunner

from kd2deploy.cli import app
from kd2deploy.exporters.bundle import write_sums

pytest.importorskip("model_signing", reason="signing needs the package model-signing")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mine.pem` and `other.pem` with their public halves."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        private = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.NoEncryption()
        pem = serialization.Encoding.PEM
        (folder / f"{name}.pem").write_bytes(
            private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
        )
        public = private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}-public.pem").write_bytes(public)
    return folder


@pytest.fixture
def signed(tmp_path: Path, keys: Path) -> Path:
    bundle = small_bundle(tmp_path)
    done = CliRunner().invoke(app, ["sign", str(bundle), "--key", str(keys / "mine.pem")])
    assert done.exit_code == 0, done.output
    return bundle


def verified(bundle: Path, *key: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", str(bundle), *key])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_a_signed_bundle_is_the_writers_and_still_answers(signed: Path, keys: Path) -> None:
    code, said = verified(signed, "--key", str(keys / "mine-public.pem"))
    assert (code, "signed by the holder" in said) == (0, True)
    assert CliRunner().invoke(app, ["predict", str(signed), "a good film"]).exit_code == 0


def test_sums_that_were_written_anew_do_not_fool_it(signed: Path, keys: Path) -> None:
    (signed / "README.md").write_text("# Another\n")
    write_sums(signed)
    assert verified(signed)[0] == 0, "the folder is whole by its own sums"
    code, said = verified(signed, "--key", str(keys / "mine-public.pem"))
    assert (code, "was not signed as it is" in said) == (2, True)


def test_a_file_that_was_added_is_not_signed(signed: Path, keys: Path) -> None:
    (signed / "more.txt").write_text("more")
    write_sums(signed)
    assert verified(signed, "--key", str(keys / "mine-public.pem"))[0] == 2


@pytest.mark.parametrize("text", ["", "{}", '{"a": 1}', "[]", "\0"])
def test_what_is_no_signature_proves_nothing(signed: Path, keys: Path, text: str) -> None:
    (signed / "model.sig").write_text(text)
    assert verified(signed, "--key", str(keys / "mine-public.pem"))[0] == 2


def test_the_signature_of_another_is_refused(signed: Path, keys: Path) -> None:
    assert verified(signed, "--key", str(keys / "other-public.pem"))[0] == 2
    assert verified(signed, "--key", str(keys / "nobody.pem"))[0] == 2


def test_unsigned_is_said(tmp_path: Path, keys: Path) -> None:
    bundle = small_bundle(tmp_path)
    code, said = verified(bundle)
    assert (code, "who wrote it was not checked" in said) == (0, True)
    code, said = verified(bundle, "--key", str(keys / "mine-public.pem"))
    assert (code, "is not signed" in said) == (2, True)


def test_a_key_that_cannot_sign_is_one_line(tmp_path: Path, keys: Path) -> None:
    bundle = small_bundle(tmp_path)
    done = CliRunner().invoke(app, ["sign", str(bundle), "--key", str(keys / "mine-public.pem")])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
