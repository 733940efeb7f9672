"""Why no update can be taken: a closed list, each with its next action."""

from __future__ import annotations

from typing import Final

from edge_daemon.errors import EdgeError

REASONS: Final[dict[str, str]] = {
    "no_root": "Get the root file from whoever signs your updates, and run "
    "`edge-daemon update trust FILE`.",
    "expired": "Nothing on this box: whoever publishes the updates must renew them "
    "(`edge-daemon release renew`). Check the date if others get them.",
    "clock": "Connect the box to a time server (`timedatectl`). For a USB stick, compare the time "
    "that is shown and give --trust-clock.",
    "not_trusted": "Do not use this source: what it offers is not signed as it must be, or older "
    "than what was seen before. Tell whoever publishes the updates.",
    "unreachable": "Nothing: it is tried again. If it lasts, check the network and `updates.url`.",
    "slow": "Nothing: it goes on where it stopped. If it lasts, check the network.",
    "busy": "Nothing: it is tried again. If it lasts, run `edge-daemon doctor`.",
    "disk": "Free disk space, and check the permissions of the data folder.",
}
"""Code → what a person does next; results go on whatever stands here."""

_BY_ITSELF: Final = {"unreachable", "slow", "busy", "disk"}


class UpdateError(EdgeError):
    """No update can be taken now.

    Parameters
    ----------
    code
        From `REASONS`.
    message
        What was found.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, action=REASONS[code])
        self.code = code

    @property
    def by_itself(self) -> bool:
        """Whether it may be over without anybody doing anything."""
        return self.code in _BY_ITSELF
