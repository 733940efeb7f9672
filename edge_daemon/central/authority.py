"""The fleet's own certificate authority: boxes are known by certificates it has signed."""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_daemon.errors import EdgeError, Fatal

if TYPE_CHECKING:
    from pathlib import Path

DEVICE_DAYS: Final = 90
RENEW_DAYS: Final = 60
_FLEET_DAYS: Final = 3650
_SERVER_DAYS: Final = 825
_SKEW: Final = dt.timedelta(hours=1)  # a box whose clock is a little late must not wait
_MAX_REQUEST: Final = 8192


class BadRequestError(EdgeError):
    """A certificate request that is none, or asks for what no box gets."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate for a box.

    Attributes
    ----------
    pem
        The certificate.
    sha256
        Of its DER bytes, as TLS shows it.
    not_after, renew_after
        UTC.
    """

    pem: str
    sha256: str
    not_after: dt.datetime
    renew_after: dt.datetime


class Authority:
    """Signs certificates of boxes and of the server itself.

    Parameters
    ----------
    key
        Private key of the fleet.
    certificate
        Its certificate, which boxes trust.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def create(cls, folder: Path, name: str) -> Self:
        """Make a new authority: ``fleet.key`` (0600) and ``fleet.pem``.

        Raises
        ------
        Fatal
            There is one already.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = _now()
        certificate = (
            _builder(subject, subject, key.public_key(), now, _FLEET_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "fleet.key", _private(key), 0o600)
        _write(folder / "fleet.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return cls(key, certificate)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the authority of a server's folder.

        Raises
        ------
        Fatal
            There is none, or it cannot be read.
        """
        try:
            key = serialization.load_pem_private_key((folder / "fleet.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((folder / "fleet.pem").read_bytes())
        except (OSError, ValueError) as error:
            raise Fatal(
                f"{folder}: the fleet's certificate authority cannot be read: {error}",
                action="make one with `edge-daemon central init`, or restore both files",
            ) from error
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(key, certificate)

    @property
    def pem(self) -> str:
        """Certificate of the fleet."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, request: str, device_id: str) -> Issued:
        """Sign a box's certificate request under the id that the server gives it.

        Whatever name the request holds is not used.

        Raises
        ------
        BadRequestError
            It is no request signed by its own P-256 key.
        """
        key = _requested_key(request)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)])
        now = _now()
        certificate = (
            _builder(subject, self._certificate.subject, key, now, DEVICE_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        der = certificate.public_bytes(serialization.Encoding.DER)
        return Issued(
            pem=ssl.DER_cert_to_PEM_cert(der),
            sha256=hashlib.sha256(der).hexdigest(),
            not_after=certificate.not_valid_after_utc,
            renew_after=now + dt.timedelta(days=RENEW_DAYS),
        )

    def certify_server(self, folder: Path, hosts: list[str]) -> None:
        """Make ``server.key`` and ``server.pem`` for these names or addresses of the server."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        certificate = (
            _builder(subject, self._certificate.subject, key.public_key(), _now(), _SERVER_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_name(h) for h in hosts]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        for name in ("server.key", "server.pem"):
            (folder / name).unlink(missing_ok=True)
        _write(folder / "server.key", _private(key), 0o600)
        _write(folder / "server.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def ends_at(path: Path) -> dt.datetime:
    """Say until when a certificate is good.

    Raises
    ------
    Fatal
        There is no certificate in the file.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise Fatal(
            f"{path}: no certificate can be read: {error}",
            action="make one with `edge-daemon central certify`",
        ) from error


def _requested_key(request: str) -> ec.EllipticCurvePublicKey:
    if len(request) > _MAX_REQUEST:
        raise BadRequestError("the certificate request is too long")
    try:
        asked = x509.load_pem_x509_csr(request.encode("ascii"))
        key, signed = asked.public_key(), asked.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise BadRequestError(f"no certificate request: {error}") from error
    if not signed:
        raise BadRequestError("the certificate request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRequestError("the request's key is not of the curve P-256")
    return key


def key_digest(request: str) -> str:
    """SHA-256 of the public key that a certificate request asks for.

    Raises
    ------
    BadRequestError
        It is no request.
    """
    key = _requested_key(request)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a new file with its final rights from the first byte on."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise Fatal(f"{path} is there already", action="use it, or give another folder") from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
