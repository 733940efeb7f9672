"""What the box does after each kind of answer; pure (docs/protocol.md has the table)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    import random

    from edge_daemon.clock import Stamp

Response = Literal["retry", "hold", "renew", "split"]

BASE_S: Final = 2.0
CAP_S: Final = 900.0
HOLD_S: Final = 3600.0
PATIENCE: Final = "sync.patience"
"""Key under which the database remembers how long to wait."""
_DOUBLINGS: Final = 20  # beyond the cap; keeps the power small


class TroubleError(EdgeError):
    """A request that did not do what it should.

    Parameters
    ----------
    response
        ``retry``: later, by itself. ``hold``: hourly, and a person is told. ``renew``: with a new
        certificate. ``split``: with fewer items; a single one becomes a dead letter.
    code
        Stable reason.
    wait_s
        What the server asked for, or None.
    """

    def __init__(
        self, response: Response, code: str, message: str, *, wait_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.response: Response = response
        self.code = code
        self.wait_s = wait_s


def judge(status: int, retry_after: str | None = None) -> TroubleError | None:
    """Judge a status; None for 200, whose body says more.

    Parameters
    ----------
    status
        Of HTTP.
    retry_after
        Header of this name.
    """
    told = f"the server answered {status}"
    if status == 200:
        return None
    if status in {400, 413, 422}:
        return TroubleError("split", f"status_{status}", told)
    if status == 401:
        return TroubleError("renew", "certificate", told)
    if 400 <= status < 500 and status not in {408, 425, 429}:
        return TroubleError("hold", f"status_{status}", told)
    return TroubleError("retry", f"status_{status}", told, wait_s=_seconds(retry_after))


def _seconds(retry_after: str | None) -> float | None:
    """Read ``Retry-After`` in seconds; a date needs a right clock and is not used."""
    text = (retry_after or "").strip()
    return min(float(text), HOLD_S) if text.isascii() and text.isdecimal() else None


def backoff_s(attempts: int, rng: random.Random) -> float:
    """Full jitter: any time up to the cap of this attempt, so that a fleet does not come at once.

    Parameters
    ----------
    attempts
        Failures in a row, from 1.
    rng
        Chance.
    """
    return rng.uniform(0.0, min(CAP_S, BASE_S * 2.0 ** min(attempts - 1, _DOUBLINGS)))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the box waits before it tries again; kept in the database over restarts.

    Attributes
    ----------
    attempts
        Failures in a row.
    code, message
        Of the last one; empty while all is well.
    held
        Whether a person should know: it will hardly mend itself.
    boot_id, due_s
        Not before this monotonic time of this boot. After another start of the machine it is due
        at once, with the attempts it had: wall time may be years wrong there.
    """

    attempts: int = 0
    code: str = ""
    message: str = ""
    held: bool = False
    boot_id: str = ""
    due_s: float = 0.0

    def after(self, trouble: TroubleError, now: Stamp, rng: random.Random) -> Patience:
        """Wait longer, or hold."""
        held = trouble.response != "retry"
        wait_s = HOLD_S if held else backoff_s(self.attempts + 1, rng)
        return Patience(
            attempts=self.attempts + 1,
            code=trouble.code,
            message=trouble.message,
            held=held,
            boot_id=now.boot_id,
            due_s=now.monotonic_s + max(wait_s, trouble.wait_s or 0.0),
        )

    def wait_s(self, boot_id: str, now_s: float) -> float:
        """Seconds until it is due."""
        return max(self.due_s - now_s, 0.0) if boot_id == self.boot_id else 0.0

    def dump(self) -> str:
        """Write for the database."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @staticmethod
    def load(text: str | None) -> Patience:
        """Read back; what cannot be read is as after a success."""
        try:
            told: dict[str, Any] = json.loads(text or "{}")
            return Patience(**told)
        except (ValueError, TypeError):
            return Patience()
