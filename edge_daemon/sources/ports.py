"""Opening serial ports, and telling which of their names last."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from edge_daemon.sources.connection import Connection, LostError

if TYPE_CHECKING:
    from edge_daemon.sources.connection import Stop

_BY_ID: Final = Path("/dev/serial/by-id")
_FLEETING: Final = re.compile(r"tty(USB|ACM)[0-9]+")
_PARITY: Final = {"none": "N", "even": "E", "odd": "O", "mark": "M", "space": "S"}


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How characters stand on a serial line; both ends must agree."""

    baud: int = 9600
    bits: Literal[5, 6, 7, 8] = 8
    parity: Literal["none", "even", "odd", "mark", "space"] = "none"
    stop_bits: Literal[1, 2] = 1
    flow: Literal["none", "hardware", "software"] = "none"


def open_port(path: Path, line: LineSettings, stop: Stop) -> Connection:
    """Open a serial port for this process alone.

    Raises
    ------
    LostError
        It is not there, is in use, or does not take the settings; it is tried again.
    """
    import serial  # noqa: PLC0415 - only boxes with a serial analyzer pay for it

    try:
        port = serial.Serial(
            str(path),
            baudrate=line.baud,
            bytesize=line.bits,
            parity=_PARITY[line.parity],
            stopbits=line.stop_bits,
            rtscts=line.flow == "hardware",
            xonxoff=line.flow == "software",
            exclusive=True,
            timeout=0,
        )
    except (OSError, ValueError, termios.error) as error:
        raise LostError(
            f"{path} cannot be opened: {_reason(error)}",
            action="check the cable, the configured port, that no other program uses it, and "
            "that the service's user may (group dialout)",
        ) from error
    fd = port.fileno()
    # The lock keeps out who asks for it; this keeps out everybody else.
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCEXCL)

    def close() -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, termios.TIOCNXCL)
        with contextlib.suppress(OSError, serial.SerialException):
            port.close()

    return Connection(fd, close, stop)


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in {errno.EAGAIN, errno.EBUSY}:
        return "another program uses it"
    return os.strerror(number) if number else str(error)


def lasting_name(port: Path, by_id: Path = _BY_ID) -> Path | None:
    """Return the name of a port that stays when devices are plugged in another order.

    Returns
    -------
    Path or None
        A name below ``/dev/serial/by-id`` for a ``ttyUSB0``-like one; None where the name lasts
        already, or there is none that does.
    """
    if not _FLEETING.fullmatch(port.name):
        return None
    with contextlib.suppress(OSError):
        device = port.resolve()
        for link in sorted(by_id.iterdir()):
            if link.resolve() == device:
                return link
    return None
