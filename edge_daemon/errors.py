"""The three error classes; the class alone decides the response.

========== =============================================================== ==================
class      meaning                                                         response
========== =============================================================== ==================
Retryable  the world is not ready: busy, full, unplugged, half written     keep, try later
Quarantine this capture cannot be read or must not be classified           keep, tell, go on
Fatal      this process cannot do its job: bad config, newer schema        stop, exit code
========== =============================================================== ==================

Errors of libraries and of the operating system are wrapped at the edge where they occur, so
that nothing above a stage ever catches ``Exception`` to decide what to do.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_WARNINGS = 3
EXIT_NOT_FOUND = 4
EXIT_RETRY_LATER = 75
EXIT_BAD_CONFIG = 78


class EdgeError(Exception):
    """Base of every error this product raises on purpose.

    Parameters
    ----------
    message
        What is wrong, where (file, byte or key) and what was expected, in one sentence.
    action
        What a person should do next; may be empty.
    """

    def __init__(self, message: str, *, action: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.action = action

    def __reduce__(self) -> tuple[object, ...]:
        """Keep keyword-only fields when an error crosses a process border."""
        return _rebuild, (type(self), self.__dict__.copy())


def _rebuild(cls: type[EdgeError], state: dict[str, object]) -> EdgeError:
    error = cls.__new__(cls)
    Exception.__init__(error, state.get("message", ""))
    error.__dict__.update(state)
    return error


class Retryable(EdgeError):
    """The same operation may succeed later without anybody changing anything."""


class Quarantine(EdgeError):
    """The capture is kept with its bytes, is not classified, and the reason is shown.

    Parameters
    ----------
    code
        Stable machine-readable reason, ``snake_case``, from `QUARANTINE_CODES`.
    candidates
        Profile ids that came close, for reasons of the profile match.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        action: str = "",
        candidates: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, action=action)
        if code not in QUARANTINE_CODES:
            raise ValueError(f"unknown quarantine code {code!r}")
        self.code = code
        self.candidates = candidates


class Fatal(EdgeError):
    """The process must stop; `exit_code` tells the supervisor and the person why."""

    def __init__(self, message: str, *, action: str = "", exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message, action=action)
        self.exit_code = exit_code


QUARANTINE_CODES: frozenset[str] = frozenset(
    {
        "not_recognised",  # bytes are of no format any codec reads
        "malformed",  # right format, broken content
        "truncated",  # content ends before it says it does
        "too_large",  # file, events, channels or expansion over a limit
        "unsupported",  # a legal variant of the format that no codec reads
        "no_profile",  # no profile matches instrument and firmware
        "ambiguous_profile",  # more than one does
        "profile_mismatch",  # matched or chosen, but columns or metadata it needs are absent
        "implausible",  # decoded values outside the profile's plausibility limits
        "no_bundle",  # no verified model bundle is valid for this profile
        "not_classified",  # the model's output failed its checks
        "worker_died",  # analysis crashed the worker twice
        "worker_timeout",  # analysis ran out of CPU or wall time
        "stalled",  # the file stopped growing before it was complete
        "archive_damaged",  # the archived bytes are missing or no longer match their digest
        "refused",  # symlink, FIFO, device, escaping name, unreadable
    }
)
"""Every reason a capture can be quarantined for; each is explained in docs/quarantine.md."""
