"""What a serving task is made for: model, snapshot, hardware, short names of both. Checked before anything is made."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from warpsmith.errors import BadInput

RANDOM = "random-llama"
"""The model's name where there is no snapshot: a small one with random weights."""
_MODEL = r"[A-Za-z0-9][A-Za-z0-9._\-]*(/[A-Za-z0-9][A-Za-z0-9._\-]*)?"
_SLUG = r"[a-z0-9][a-z0-9\-]{0,31}"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_INDEX = "*.index.json"
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Subject:
    """A served model on some hardware."""

    model: str
    """The name under which it is served."""
    snapshot: str
    """Absolute path of its files; empty: small random weights."""
    model_slug: str
    hardware_slug: str
    narrow: bool
    """Whether it is served in a type narrower than f32: a snapshot on a GPU is."""

    @property
    def places(self) -> dict[str, str]:
        """What stands in a template for what."""
        return {
            "__DTYPE__": "auto" if self.snapshot else "float32",
            "__TOLERANCE__": "5e-2" if self.narrow else "1e-3",
            "__MATCHED__": "0.9" if self.narrow else "1.0",
            "__MODEL__": self.model,
            "__SNAPSHOT__": self.snapshot,
            "__BESIDE__": "false" if self.snapshot else "true",
            "__MODEL_SLUG__": self.model_slug,
            "__HARDWARE_SLUG__": self.hardware_slug,
        }


def subject(model: str, model_path: Path | None, hardware: str, model_slug: str, hardware_slug: str) -> Subject:
    """The subject, with what was left empty filled in. Raises BadInput naming the flag."""
    if model_path is not None:
        check_snapshot(model_path)
    name = model or (_named(model_path) if model_path is not None else RANDOM)
    if not re.fullmatch(_MODEL, name) or len(name) > 96:
        raise BadInput(
            f"--model: {name!r} is no model name.", "Use name or owner/name in letters, digits, '.', '_', '-'."
        )
    slugs = {
        "--model-slug": model_slug or _slug(name.rpartition("/")[2]),
        "--hardware-slug": hardware_slug or hardware,
    }
    for flag, value in slugs.items():
        if not re.fullmatch(_SLUG, value):
            raise BadInput(f"{flag}: {value!r} is no slug.", "Use up to 32 small letters, digits and '-'.")
    snapshot = str(model_path.resolve()) if model_path is not None else ""
    narrow = bool(snapshot) and hardware != "cpu"
    return Subject(name, snapshot, slugs["--model-slug"], slugs["--hardware-slug"], narrow)


def only_serving(
    kind: str, model: str, model_path: Path | None, hardware: str, model_slug: str, hardware_slug: str
) -> dict[str, str]:
    """Raise BadInput where a task of another kind was given what only a serving task has; no places otherwise."""
    given = {"--model": model, "--model-path": model_path, "--model-slug": model_slug, "--hardware-slug": hardware_slug}
    if flags := [flag for flag, value in given.items() if value]:
        raise BadInput(f"{', '.join(flags)}: a {kind} task on {hardware} has no model.", "Add --kind serving.")
    return {}


def check_snapshot(folder: Path) -> None:
    """Raise BadInput where this is no folder of a model with its configuration and all of its weights."""
    if not folder.is_dir():
        said = "is a file" if folder.exists() else "does not exist"
        raise BadInput(f"--model-path: {folder} {said}.", "Name the folder with the model's config.json and weights.")
    if any(c in str(folder.resolve()) for c in '"\\\n\r\t'):
        raise BadInput(f"--model-path: {str(folder)!r} holds characters that task.toml cannot.", "Rename the folder.")
    if (folder / "snapshots").is_dir() and not (folder / "config.json").exists():
        found = sorted(p.name for p in (folder / "snapshots").iterdir())
        remedy = f"Name one of its snapshots: {folder}/snapshots/{found[0] if found else 'REVISION'}."
        raise BadInput(f"--model-path: {folder} is a repository of a cache, not a snapshot.", remedy)
    _check_config(folder / "config.json")
    _check_weights(folder)


def _check_config(path: Path) -> None:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"--model-path: {path} does not exist.", "Name the folder of one model snapshot.") from None
    except (ValueError, OSError) as error:
        raise BadInput(f"--model-path: {path} cannot be read: {error}.", "Fetch the snapshot anew.") from None
    if not isinstance(said, dict) or not (said.get("model_type") or said.get("architectures")):
        raise BadInput(
            f"--model-path: {path} names neither model_type nor architectures.", "It is no model's configuration."
        )


def _check_weights(folder: Path) -> None:
    """Every file that the index names, or any weights where there is none: there, whole, and not a pointer."""
    found = {p.name for pattern in _WEIGHTS for p in folder.glob(pattern)}
    for index in sorted(folder.glob(_INDEX)):
        try:
            found |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise BadInput(f"--model-path: {index} is no index of weights: {error!r}.", "Fetch it anew.") from None
    if not found:
        raise BadInput(f"--model-path: {folder} has no weights.", f"Looked for {' and '.join(_WEIGHTS)}.")
    for name in sorted(found):
        path = folder / name
        if not path.is_file():
            why = "is a link to nothing" if path.is_symlink() else "does not exist"
            raise BadInput(f"--model-path: the weights {path} {why}.", "The snapshot is not whole: fetch it anew.")
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise BadInput(f"--model-path: {path} is a Git LFS pointer.", "Fetch its content: git lfs pull.")


def _named(folder: Path) -> str:
    """The model's name by its folder, or by that of the cache which it lies in."""
    for part in folder.resolve().parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    return folder.resolve().name


def _slug(name: str) -> str:
    """A name in small letters, digits and '-'."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32].rstrip("-")
