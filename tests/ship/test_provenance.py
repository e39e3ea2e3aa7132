"""Signatures: the user's own key, its absence, and what is done to either."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.ship.things import TASK, Scripted, promote, scripted
from warpsmith.errors import BadInput
from warpsmith.model.base import digest_bytes
from warpsmith.model.release import IndexEntry, Manifest
from warpsmith.ship import index, provenance
from warpsmith.surface.shelves import shelf
from warpsmith.surface.verifying import run_verify

pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")


def key(folder: Path, name: str) -> tuple[Path, Path]:
    """A new ed25519 key: private, public."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    private = Ed25519PrivateKey.generate()
    paths = folder / f"{name}.key", folder / f"{name}.pem"
    paths[0].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    paths[1].write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return paths


def signed(root: Path, **settings: object) -> Scripted:
    mine, public = key(root, "mine")
    space = scripted(root, **{"signing_key": str(mine), "trusted_keys": str(public), **settings})
    answer = promote(space)
    assert answer.manifest is not None and answer.entry is not None
    assert answer.manifest.signer == answer.entry.signer != ""
    return space


def signature(space: Scripted) -> tuple[str, str]:
    answer = run_verify(space, TASK, retest=False, hashes=True, gain=False)
    checks = answer.releases[0].checks
    bad = [c for c in checks if c.name in ("signature", "provenance") and c.result != "passed"]
    found = bad[0] if bad else checks[-1]
    return found.result, found.detail


def forge(space: Scripted, change: dict[str, Any]) -> None:
    """Rewrite the provenance, and the index to agree with it: what an intruder with write access can do."""
    there = shelf(space)
    path = there.place(TASK, "1.0.0") / "provenance.json"
    said = {**json.loads(path.read_bytes()), **change}
    path.chmod(0o644)
    path.write_text(json.dumps(said))
    old = there.entries()[0]
    entry = IndexEntry.model_validate(
        {**old.model_dump(), "provenance": digest_bytes(path.read_bytes()), "entry": ""}
    ).sealed()
    (there.folder / "index.jsonl").write_bytes(entry.line + b"\n")
    (there.folder / "index.json").write_bytes(index.derived([entry]))
    there.witness.unlink(missing_ok=True)


def test_a_signed_release_is_verified_with_the_trusted_key(tmp_path: Path) -> None:
    assert signature(signed(tmp_path))[0] == "passed"


def test_a_folder_of_keys_is_trusted(tmp_path: Path) -> None:
    assert signature(signed(tmp_path, trusted_keys=str(tmp_path)))[0] == "passed"


def test_another_key_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    _, public = key(tmp_path / "other", "theirs")
    result, detail = signature(signed(tmp_path, trusted_keys=str(public)))
    assert (result, "not a trusted key" in detail) == ("failed", True)


def test_without_a_key_nothing_can_be_said(tmp_path: Path) -> None:
    assert signature(signed(tmp_path, trusted_keys=""))[0] == "lacking"


def test_a_signature_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    space = signed(tmp_path)
    forge(space, {"signatures": []})
    assert signature(space)[0] == "failed"


def test_a_forged_signature_does_not_hold(tmp_path: Path) -> None:
    space = signed(tmp_path)
    signer = shelf(space).entries()[0].signer
    forge(space, {"signatures": [{"keyid": signer, "sig": base64.b64encode(b"\1" * 64).decode()}]})
    result, detail = signature(space)
    assert (result, "does not hold" in detail) == ("failed", True)
    forge(space, {"signatures": [{"keyid": signer, "sig": "no base64"}]})
    assert signature(space)[0] == "failed"


def test_a_statement_about_something_else_is_found(tmp_path: Path) -> None:
    space = signed(tmp_path)
    forge(space, {"payload": base64.b64encode(b"{}").decode()})
    result, detail = signature(space)
    assert (result, "does not describe" in detail) == ("failed", True)


def test_an_unsigned_release_where_keys_are_trusted_fails(tmp_path: Path) -> None:
    _, public = key(tmp_path, "mine")
    space = scripted(tmp_path, trusted_keys=str(public))
    assert promote(space).released
    assert signature(space)[0] == "failed"
    assert signature(Scripted(tmp_path))[1] == "unsigned, and the manifest says so"


def test_the_statement_is_in_toto_with_slsa(tmp_path: Path) -> None:
    space = signed(tmp_path)
    there = shelf(space)
    folder = there.place(TASK, "1.0.0")
    said = json.loads((folder / "provenance.json").read_bytes())
    assert said["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(said["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    subjects = {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert subjects.pop("manifest.json") == digest_bytes((folder / "manifest.json").read_bytes())
    assert subjects == {f.path: f.sha256 for f in manifest.files}


def test_the_envelope_is_what_the_library_reads(tmp_path: Path) -> None:
    """Another reader of DSSE comes to the same conclusion."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    space = signed(tmp_path)
    path = shelf(space).place(TASK, "1.0.0") / "provenance.json"
    envelope = Envelope.from_dict(json.loads(path.read_bytes()))
    public = SSlibKey.from_crypto(load_pem_public_key((tmp_path / "mine.pem").read_bytes()))
    assert list(envelope.verify([public], 1)) == [public.keyid]


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\n", None])
def test_a_key_that_is_none_is_bad_input(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "bad.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match="signing_key"):
        provenance.key_id(path)
    bad = tmp_path / "rsa.key"
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    other = ec.generate_private_key(ec.SECP256R1())
    bad.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(BadInput, match="no ed25519 key"):
        provenance.key_id(bad)
