"""Errands: what a command asks the running service to write, because only one process writes.

A command connects to a socket in the data folder, sends one JSON line and gets one back. Where no
service runs it does the same to the store itself; `run_errand` is the one place that knows what
each errand does. Who may use the socket is decided by the folder's permissions.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

from edge_daemon.errors import EdgeError, Retryable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from edge_daemon.store.writer import Store

SOCKET_NAME: Final = "run/errands.sock"
MAX_BYTES: Final = 64 << 10
TIMEOUT_S: Final = 10.0
_PATIENCE_S: Final = 5.0
"""A client that sends nothing is left after so long: errands are served one after the other."""

Answer = dict[str, Any]


def run_errand(store: Store, errand: Mapping[str, Any]) -> Answer:
    """Do one errand and return its answer.

    Raises
    ------
    EdgeError
        It cannot be done, or is none.
    """
    given = dict(errand)
    name = given.pop("errand", None)
    work = _ERRANDS.get(name) if isinstance(name, str) else None
    if work is None:
        raise EdgeError(
            f"{name!r} is no errand this service knows",
            action="use the same version of the command and of the service",
        )
    try:
        return work(store, given)
    except (AttributeError, KeyError, TypeError) as error:
        raise EdgeError(
            f"errand {name!r} was sent with wrong fields: {error}",
            action="use the same version of the command and of the service",
        ) from error


def _correct(store: Store, given: dict[str, Any]) -> Answer:
    done = store.correct(given["run_id"], given["changes"], by=given["by"], reason=given["reason"])
    return {
        "run_id": done.run_id,
        "capture_id": done.capture_id,
        "analysed_again": done.analysed_again,
    }


def _note(store: Store, given: dict[str, Any]) -> Answer:
    return {"note_id": store.note(given.pop("run_id"), given.pop("text"), **given)}


def _send_now(store: Store, given: dict[str, Any]) -> Answer:
    from edge_daemon.store import sending  # noqa: PLC0415 - only where it is asked for
    from edge_daemon.sync.policy import PATIENCE  # noqa: PLC0415

    again = sending.send_again(store, given["dead_letters"]) if "dead_letters" in given else 0
    sending.forget(store, PATIENCE)
    return {"send_again": again}


def _add_lot(store: Store, given: dict[str, Any]) -> Answer:
    from edge_daemon.store.lots import Lot, LotTarget  # noqa: PLC0415 - SQLAlchemy: not for asking

    by = given.pop("by")
    given["targets"] = {code: LotTarget(**target) for code, target in given["targets"].items()}
    return {"lot_id": store.add_lot(Lot(**given), by=by)}


def _mark(store: Store, given: dict[str, Any]) -> Answer:
    return {"mark_id": store.mark(given.pop("run_id"), given.pop("kind"), **given)}


_ERRANDS: Final[Mapping[str, Callable[[Store, dict[str, Any]], Answer]]] = {
    "correct": _correct,
    "note": _note,
    "send_now": _send_now,
    "add_lot": _add_lot,
    "mark": _mark,
}


def ask_service(data_dir: Path, errand: Mapping[str, Any]) -> Answer | None:
    """Send an errand to the running service; None where none runs.

    Raises
    ------
    EdgeError
        The service says why it cannot be done.
    Retryable
        The service did not answer.
    """
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as line:
        line.settimeout(TIMEOUT_S)
        try:
            with _address(data_dir) as address:
                line.connect(address)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return None
        except OSError as error:
            raise _no_answer(f"cannot be asked: {error.strerror or error}") from error
        try:
            line.sendall(json.dumps(errand).encode() + b"\n")
            answer = json.loads(_line(line))
        except (OSError, ValueError) as error:
            raise _no_answer("did not answer") from error
    if (problem := answer.get("error")) is not None:
        kind = {"Retryable": Retryable}.get(problem["kind"], EdgeError)
        raise kind(problem["message"], action=problem["action"])
    done: Answer = answer["done"]
    return done


def _no_answer(what: str) -> Retryable:
    return Retryable(
        f"the running service {what}",
        action="look whether it was done before you try again; run it as the service's user",
    )


@contextlib.contextmanager
def _address(data_dir: Path) -> Iterator[str]:
    """Name the socket by a descriptor of its folder: a path of its own may be too long."""
    path = data_dir / SOCKET_NAME
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _line(line: socket.socket) -> bytes:
    """Read one line."""
    found = b""
    while not found.endswith(b"\n"):
        if not (part := line.recv(4096)):
            raise ValueError("the connection ended within a line")
        found += part
        if len(found) > MAX_BYTES:
            raise ValueError("the line is too long")
    return found


class ErrandServer:
    """Serves errands while the service runs, one after the other, on a thread of its own.

    Parameters
    ----------
    store
        The service's.
    data_dir
        Its folder.
    done
        Called after each errand that was done; the dispatcher may have something to do.
    """

    def __init__(self, store: Store, data_dir: Path, done: Callable[[], None]) -> None:
        self._store = store
        self._data_dir = data_dir
        self._done = done
        self._stopping = threading.Event()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="errands", daemon=True)

    def start(self) -> None:
        """Listen; a socket that a killed service left is replaced, since the lock is ours.

        Raises
        ------
        Retryable
            No socket can be made in the data folder, as on some USB sticks.
        """
        path = self._data_dir / SOCKET_NAME
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            with _address(self._data_dir) as address:
                listening.bind(address)
            path.chmod(0o660)
            listening.listen(8)
        except OSError as error:
            listening.close()
            raise Retryable(
                f"{path}: commands cannot be served: {error.strerror}",
                action="keep the data folder on a disk with a file system of Linux",
            ) from error
        self._socket = listening
        self._thread.start()

    def stop(self) -> None:
        """Finish the errand that is being done, and take the socket away."""
        self._stopping.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(_PATIENCE_S + TIMEOUT_S)
            self._socket.close()
            with contextlib.suppress(OSError):
                (self._data_dir / SOCKET_NAME).unlink(missing_ok=True)

    def _run(self) -> None:
        assert self._socket is not None
        while not self._stopping.is_set():
            try:
                line, _ = self._socket.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                self._stopping.wait(1.0)
                continue
            with contextlib.closing(line), contextlib.suppress(OSError):
                line.settimeout(_PATIENCE_S)
                line.sendall(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line: socket.socket) -> Answer:
        try:
            done = run_errand(self._store, dict(json.loads(_line(line))))
        except EdgeError as error:
            return _problem(type(error).__name__, error.message, error.action)
        except Exception as error:  # noqa: BLE001 - no errand may end the service
            return _problem("EdgeError", f"{type(error).__name__}: {error}", "report this")
        self._done()
        return {"done": done}


def _problem(kind: str, message: str, action: str) -> Answer:
    return {"error": {"kind": kind, "message": message, "action": action}}
