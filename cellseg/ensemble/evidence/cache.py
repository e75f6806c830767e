"""Members' answers on disk, so that a tuning asks the networks once.

Three tiers: raw boxes, keyed by what they depend on (member, image), evidence, keyed by member, image, boxes and
windows, and features, keyed by member, image and windows. A file is named by the hash of its key, so an answer for
anything else is never taken for it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cellseg.io.files import atomic_path

# Part of every key: counts up when the meaning of the files changes.
FORMAT = 1


class EvidenceCache:
    """Arrays by key in a folder.

    Args:
        folder: made when something is stored; it can be deleted at any time.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def load(self, tier: str, key: str) -> dict[str, np.ndarray] | None:
        """Stored arrays; None where there are none, or where the file is damaged (it will be written anew)."""
        path = self._path(tier, key)
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as content:
                return {name: content[name] for name in content.files}
        except Exception:  # zipfile, zlib, tokenize and numpy each have errors of their own for damaged bytes
            return None

    def store(self, tier: str, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store arrays, complete or not at all."""
        with atomic_path(self._path(tier, key)) as temporary:
            np.savez(temporary, **arrays)

    def _path(self, tier: str, key: str) -> Path:
        return self.folder / tier / key[:2] / f"{key}.npz"


def image_key(image: np.ndarray) -> str:
    """SHA-256 of the content of an image: the same pixels have the same key under any name.

    Args:
        image: uint8 ``[H, W, 3]``.
    """
    # Without FORMAT: trained combiners remember images by it.
    digest = hashlib.sha256(f"{image.dtype} {image.shape}\n".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def hash_key(*parts: Any) -> str:
    """SHA-256 over JSON-able values and arrays."""
    digest = hashlib.sha256(f"cellseg evidence {FORMAT}".encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"\n{part.dtype} {part.shape}\n".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(b"\n" + json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()
