"""Provenance: an in-toto statement with a SLSA predicate in a DSSE envelope, signed with the user's own ed25519 key.

An unsigned release has the same envelope without a signature, and its manifest says so, so that taking a signature away
shows. The signing library is an extra, imported only where a key is used.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from warpsmith.errors import BadInput, Missing
from warpsmith.model.base import canonical, digest_bytes
from warpsmith.model.release import BENCHMARK, MANIFEST, Manifest

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:warpsmith:promote:1"
_EXTRA = "Install warpsmith[sign]."


@dataclass(frozen=True)
class Envelope:
    """A DSSE envelope as it lies in a release."""

    payload: bytes
    signatures: tuple[dict[str, Any], ...]


def statement(manifest: Manifest, raw: bytes) -> bytes:
    """The statement of ``manifest``, whose bytes are ``raw``: everything in it follows from these two."""
    subjects = [{"name": MANIFEST, "digest": {"sha256": digest_bytes(raw)}}]
    subjects += [{"name": f.path, "digest": {"sha256": f.sha256}} for f in manifest.files]
    sources = [{"name": s.path, "digest": {"sha256": s.content}} for s in manifest.candidate.sources]
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "name": manifest.name,
                "version": manifest.version,
                "candidate": manifest.candidate_id,
                "command": list(manifest.build.command),
            },
            "internalParameters": {"target": manifest.target.key, "compiler": manifest.compiler},
            "resolvedDependencies": [*sources, {"name": "task", "digest": {"sha256": manifest.task}}],
        },
        "runDetails": {
            "builder": {"id": f"urn:warpsmith:judge:{manifest.judge}", "version": {"warpsmith": manifest.warpsmith}},
            "metadata": {"invocationId": digest_bytes(raw), "finishedOn": manifest.at},
            "byproducts": [{"name": BENCHMARK, "digest": {"sha256": manifest.role("benchmark")[0].sha256}}],
        },
    }
    said = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": predicate,
    }
    return canonical(said)


def key_id(key: Path | None) -> str:
    """The id of the key that will sign; empty without one. Raises BadInput, and Missing without the extra."""
    return _signer(key).public_key.keyid if key else ""


def envelope(manifest: Manifest, raw: bytes, key: Path | None) -> bytes:
    """The content of ``provenance.json``, signed where there is a key. Raises as :func:`key_id` does."""
    payload = statement(manifest, raw)
    signatures = []
    if key is not None:
        signature = _signer(key).sign(_pre_authentication(payload))
        encoded = base64.b64encode(bytes.fromhex(signature.signature)).decode()
        signatures.append({"keyid": signature.keyid, "sig": encoded})
    said = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": signatures}
    return json.dumps(said, indent=1, sort_keys=True).encode() + b"\n"


def read(content: bytes) -> Envelope:
    """The envelope in ``content``. Raises BadInput."""
    try:
        said = json.loads(content)
        if said["payloadType"] != PAYLOAD_TYPE:
            raise ValueError(f"payloadType {said['payloadType']!r}")
        payload = base64.b64decode(said["payload"], validate=True)
        return Envelope(payload, tuple(dict(s) for s in said["signatures"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"provenance.json is no DSSE envelope ({error}).") from None


def check_signature(
    found: Envelope, signer: str, keys: Path | None
) -> tuple[Literal["passed", "failed", "lacking"], str, str]:
    """What is known of the signature, the detail and the remedy. ``keys`` is a public key, or a folder of them."""
    remedy = "Restore the release's folder from version control; do not use it until then."
    if not signer:
        if found.signatures:
            return "failed", "the manifest names no signer, and there is a signature", remedy
        if keys is not None:
            return "failed", "unsigned, and trusted keys are set", "Promote it anew with signing_key set."
        return "passed", "unsigned, and the manifest says so", ""
    if [s.get("keyid") for s in found.signatures] != [signer]:
        return "failed", f"the signature of {signer[:16]} that the manifest names is not there", remedy
    if keys is None:
        return "lacking", f"signed by {signer[:16]}, whose key is not known here", "Set trusted_keys to its public key."
    try:
        trusted = {key.keyid: key for key in _public_keys(keys)}
    except Missing as lacks:
        return "lacking", lacks.message, lacks.remedy
    if signer not in trusted:
        return "failed", f"signed by {signer[:16]}, which is not a trusted key", "Trust that key, or do not use it."
    if not _verifies(trusted[signer], found):
        return "failed", f"the signature of {signer[:16]} does not hold", remedy
    return "passed", f"signed by {signer[:16]}, which is trusted", ""


def _verifies(key: SSlibKey, found: Envelope) -> bool:
    from securesystemslib.exceptions import UnverifiedSignatureError
    from securesystemslib.signer import Signature

    try:
        signature = base64.b64decode(found.signatures[0]["sig"], validate=True).hex()
        key.verify_signature(Signature(key.keyid, signature), _pre_authentication(found.payload))
    except (UnverifiedSignatureError, ValueError, KeyError, TypeError):
        return False
    return True


def _pre_authentication(payload: bytes) -> bytes:
    """What is signed (DSSE, PAE)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _signer(key: Path | None) -> CryptoSigner:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from securesystemslib.signer import CryptoSigner
    except ImportError:
        raise Missing("signing needs securesystemslib.", _EXTRA) from None
    assert key is not None
    remedy = "Make one with 'openssl genpkey -algorithm ed25519 -out FILE'."
    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"signing_key: {key} cannot be used: {error}.", remedy) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise BadInput(f"signing_key: {key} is no ed25519 key.", remedy)
    return CryptoSigner(private)


def _public_keys(keys: Path) -> list[SSlibKey]:
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.signer import SSlibKey
    except ImportError:
        raise Missing("checking a signature needs securesystemslib.", _EXTRA) from None
    files = sorted(keys.glob("*.pem")) if keys.is_dir() else [keys]
    try:
        return [SSlibKey.from_crypto(load_pem_public_key(f.read_bytes())) for f in files]
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(
            f"trusted_keys: {keys}: {error}.", "Write public keys as PEM: openssl pkey -in FILE -pubout."
        ) from None
