"""What the central server keeps, and the one transaction that receives a batch."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import secrets
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from edge_daemon.central import audit, schema
from edge_daemon.central.audit import Actor
from edge_daemon.central.fleet import history
from edge_daemon.central.migrate import migrate
from edge_daemon.central.receiving import receive
from edge_daemon.central.rollouts import Rollouts
from edge_daemon.central.schema import claims, clinics, devices, documents
from edge_daemon.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from edge_daemon.central.authority import Issued
    from edge_daemon.sync.protocol import Answer, Batch

CLAIM_HOURS: Final = 24
_SEEN: Final = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Device:
    """A box that has shown its certificate."""

    id: str
    clinic_id: int
    name: str


class RefusedError(EdgeError):
    """The caller may not do this; `status` is the HTTP status that says so."""

    def __init__(
        self, status: int, code: str, message: str, *, device: Device | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.device = device


class CentralStore:
    """The server's database.

    Parameters
    ----------
    url
        Of SQLAlchemy: ``postgresql+psycopg://…`` or ``sqlite:///…``.
    pool
        Connections kept open to PostgreSQL.

    Attributes
    ----------
    by
        Who does what is done here, for the audit trail.
    """

    def __init__(self, url: str, *, pool: int = 8) -> None:
        self.by = Actor("server", "command")
        if url.startswith("sqlite"):
            self._engine: Engine = create_engine(url, connect_args={"timeout": 30})
            event.listen(self._engine, "connect", _durable)
            event.listen(self._engine, "begin", _write_from_the_start)
        else:
            self._engine = create_engine(url, pool_size=pool, pool_pre_ping=True)

    @property
    def engine(self) -> Engine:
        """For what is no box's business; it sees every clinic."""
        return self._engine

    def rollouts(self) -> Rollouts:
        """Return the updates on their way through the fleet, for commands."""
        return Rollouts(self._engine, self.by)

    def create(self) -> None:
        """Make what is not there yet, and move older tables forward."""
        migrate(self._engine)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    # Who may come in

    def add_clinic(self, name: str) -> int:
        """Add a clinic and return its number.

        Raises
        ------
        EdgeError
            There is one of this name.
        """
        try:
            with self._engine.begin() as db:
                made = insert(clinics).values(name=name, created_at=_now()).returning(clinics.c.id)
                number = int(db.execute(made).scalar_one())
                audit.note(db, self.by, "clinic_added", name, clinic_id=number)
        except IntegrityError as error:
            raise EdgeError(
                f"there is a clinic named {name!r} already", action="give it another name"
            ) from error
        return number

    def make_claim(self, clinic_id: int, box_name: str) -> str:
        """Make a code that lets one box of a clinic in, within 24 hours."""
        code = secrets.token_urlsafe(18)
        with self._engine.begin() as db:
            if db.execute(select(clinics.c.id).where(clinics.c.id == clinic_id)).first() is None:
                raise EdgeError(
                    f"there is no clinic {clinic_id}",
                    action="list them with `edge-daemon central clinics`",
                )
            db.execute(
                insert(claims).values(
                    code_sha256=_sha256(code),
                    clinic_id=clinic_id,
                    box_name=box_name,
                    expires_at=_now() + dt.timedelta(hours=CLAIM_HOURS),
                )
            )
            audit.note(db, self.by, "claim_made", box_name, clinic_id=clinic_id)
        return code

    def claim(self, code: str, key_sha256: str) -> Device:
        """Use a code up; the box that used it may come again, known by its key.

        Raises
        ------
        RefusedError
            The code is unknown, too old, or another box's.
        """
        with self._engine.begin() as db:
            now = _now()
            used = (
                update(claims)
                .where(
                    claims.c.code_sha256 == _sha256(code),
                    claims.c.expires_at > now,
                    or_(claims.c.used_at.is_(None), claims.c.key_sha256 == key_sha256),
                )
                .values(
                    used_at=now,
                    key_sha256=key_sha256,
                    device_id=func.coalesce(claims.c.device_id, str(uuid.uuid4())),
                )
                .returning(claims.c.device_id, claims.c.clinic_id, claims.c.box_name)
            )
            row = db.execute(used).first()
        if row is None:
            raise RefusedError(403, "claim", "this claim code is unknown, used, or over 24 h old")
        return Device(*row)

    def enrol(self, device: Device, issued: Issued) -> None:
        """Know a box by its first certificate."""
        row = {
            "certificate_sha256": issued.sha256,
            "not_after": issued.not_after,
            "enrolled_at": _now(),
        }
        with self._engine.begin() as db:
            known = _upsert(db, devices).values(
                id=device.id, clinic_id=device.clinic_id, name=device.name, **row
            )
            db.execute(known.on_conflict_do_update(index_elements=["id"], set_=row))
            box = Actor(device.name, "box")
            audit.note(db, box, "box_enrolled", device.id, clinic_id=device.clinic_id)

    def renew(self, device: Device, shown_sha256: str, issued: Issued) -> None:
        """Give a box another certificate; the one it showed serves until the new one is used."""
        with self._engine.begin() as db:
            db.execute(
                update(devices)
                .where(devices.c.id == device.id)
                .values(
                    certificate_sha256=issued.sha256,
                    former_sha256=shown_sha256,
                    not_after=issued.not_after,
                )
            )

    def revoke(self, device_id: str) -> bool:
        """Refuse a box from now on; False where there is none."""
        with self._engine.begin() as db:
            which = update(devices).where(devices.c.id == device_id).values(revoked_at=_now())
            row = db.execute(which.returning(devices.c.name, devices.c.clinic_id)).first()
            if row is not None:
                audit.note(db, self.by, "box_revoked", row.name, clinic_id=row.clinic_id)
            return row is not None

    def boxes(self) -> list[dict[str, Any]]:
        """List every box of every clinic; times as ISO text, UTC."""
        sent = (
            select(func.count())
            .where(documents.c.device_id == devices.c.id)
            .scalar_subquery()
            .label("documents")
        )
        query = (
            select(
                devices.c.id,
                clinics.c.name.label("clinic"),
                devices.c.name,
                devices.c.not_after,
                devices.c.enrolled_at,
                devices.c.revoked_at,
                devices.c.seen_at,
                devices.c.clock_state,
                sent,
            )
            .join(clinics, clinics.c.id == devices.c.clinic_id)
            .order_by(clinics.c.name, devices.c.name)
        )
        with self._engine.begin() as db:
            return [
                {
                    k: _utc(v).isoformat() if isinstance(v, dt.datetime) else v
                    for k, v in row.items()
                }
                for row in db.execute(query).mappings()
            ]

    def device(self, certificate_sha256: str, clock_state: str | None = None) -> Device:
        """Find the box of a certificate that TLS has verified, and note that it was seen.

        Raises
        ------
        RefusedError
            401: no box has it any more, so it must renew or enrol. 403: the box is revoked.
        """
        with self._engine.begin() as db:
            query = select(devices).where(
                or_(
                    devices.c.certificate_sha256 == certificate_sha256,
                    devices.c.former_sha256 == certificate_sha256,
                )
            )
            row = db.execute(query).first()
            if row is None:
                raise RefusedError(401, "certificate", "no box has this certificate")
            device = Device(row.id, row.clinic_id, row.name)
            if row.revoked_at is not None:
                raise RefusedError(403, "revoked", "this box is revoked", device=device)
            if changes := _news(row, certificate_sha256, clock_state):
                db.execute(update(devices).where(devices.c.id == row.id).values(**changes))
        return device

    # What boxes send

    def ingest(self, device: Device, batch: Batch) -> tuple[list[Answer], int]:
        """Store what is new of a batch, in one transaction.

        Returns
        -------
        tuple
            An answer for each item, and the highest seq received of this epoch.
        """
        with self._as(device) as db:
            return receive(db, device.id, device.clinic_id, batch)

    def note_health(self, device: Device, body: str) -> None:
        """Keep the newest word of a box about itself."""
        now = _now()
        with self._as(device) as db:
            summary = history.note(db, device.id, device.clinic_id, json.loads(body), now)
            row = {"received_at": now, "body": body, "summary": summary}
            told = _upsert(db, schema.health).values(
                device_id=device.id, clinic_id=device.clinic_id, **row
            )
            db.execute(told.on_conflict_do_update(index_elements=["device_id"], set_=row))

    def has_raw(self, device: Device, sha256: str) -> bool:
        """Tell whether the box's clinic has a raw capture whole."""
        objects = schema.raw_objects
        query = select(objects.c.size).where(
            objects.c.clinic_id == device.clinic_id, objects.c.sha256 == sha256
        )
        with self._as(device) as db:
            return db.execute(query).first() is not None

    def note_raw(self, device: Device, sha256: str, size: int) -> None:
        """Note that a raw capture is whole in the raw store."""
        row = {"clinic_id": device.clinic_id, "sha256": sha256, "size": size, "stored_at": _now()}
        with self._as(device) as db:
            db.execute(_upsert(db, schema.raw_objects).values(**row).on_conflict_do_nothing())

    @contextmanager
    def _as(self, device: Device) -> Iterator[Connection]:
        """Open a transaction that sees the box's own clinic only."""
        with self._engine.begin() as db:
            schema.isolate(db, device.clinic_id)
            yield db


def _news(row: Any, certificate_sha256: str, clock_state: str | None) -> dict[str, Any]:
    """Say what to note of a box that was seen; nothing costs no commit."""
    changes: dict[str, Any] = {}
    if row.seen_at is None or abs(_now() - _utc(row.seen_at)) > _SEEN:
        changes["seen_at"] = _now()
    if clock_state and clock_state != row.clock_state:
        changes["clock_state"] = clock_state
    if row.former_sha256 is not None and row.certificate_sha256 == certificate_sha256:
        changes["former_sha256"] = None
    return changes


def _upsert(db: Connection, table: Any) -> Any:
    """Insert with ON CONFLICT, in the words of the connection's database."""
    dialect = postgresql if db.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _durable(connection: Any, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_from_the_start(db: Connection) -> None:
    db.exec_driver_sql("BEGIN IMMEDIATE")


def _utc(moment: dt.datetime) -> dt.datetime:
    """Give a moment its zone; SQLite keeps none."""
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _shown(value: object) -> object:
    return _utc(value).isoformat() if isinstance(value, dt.datetime) else value


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
