"""JSON written the one way that gives equal text for equal documents, and its digest.

Boxes and the central server prove with it that a document arrived as it was written. Standard
library only.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(document: Any) -> str:
    """Write JSON with sorted keys, no white space, and the shortest text of every number.

    Raises
    ------
    ValueError
        A number is not finite.
    """
    return json.dumps(
        document, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )


def digest(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, lower-case hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
