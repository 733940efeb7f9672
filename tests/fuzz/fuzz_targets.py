"""Every kind of input that comes from outside, and what reads it in the product."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import io
import json
import random
import re
import struct
import tomllib
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from fuzz_engine import WATCH, Target

from edge_daemon import answers
from edge_daemon.classify.bundle import load_bundle
from edge_daemon.config import default_config_text, load_config
from edge_daemon.decode import decode, decode_raw, load_profile
from edge_daemon.decode.calibration import TableError, read_calibration
from edge_daemon.decode.codecs.astm import AstmCodec, AstmOptions
from edge_daemon.decode.codecs.astm_frames import deframe
from edge_daemon.decode.codecs.fcs_codec import FcsCodec
from edge_daemon.decode.codecs.fcs_text import FcsOptions
from edge_daemon.decode.codecs.hl7 import Hl7Codec, Hl7Options
from edge_daemon.decode.codecs.preview import preview
from edge_daemon.decode.codecs.pulses import PulsesCodec
from edge_daemon.decode.codecs.records import RecordsCodec
from edge_daemon.decode.draft import Identity, propose, render
from edge_daemon.decode.kit import read_sample
from edge_daemon.decode.limits import Limits
from edge_daemon.decode.message import Leniencies
from edge_daemon.decode.registry import Registry
from edge_daemon.decode.report import read_reports
from edge_daemon.errors import EdgeError
from edge_daemon.parts import join
from edge_daemon.records import CELL_CLASSES, Classified, Decoded, Reported, SampleInfo
from edge_daemon.resources import docs_dir, models_dir, profiles_dir
from edge_daemon.simulator.pulse_writer import write_pulses
from edge_daemon.simulator.wire import (
    ENQ,
    EOT,
    PACKET_FRAMING,
    astm_frames,
    block,
    mllp_block,
    packet_run,
)
from edge_daemon.sources.framing import make_framer
from edge_daemon.store import pictures
from edge_daemon.sync import protocol

LIMITS: Final = Limits(max_bytes=1 << 20, max_events=50_000, max_expansion=1 << 22)
NAMES: Final = (
    "0001.fcs", "RET_[XN-10^12345][00-15_5][20240311_101500][           GENERATED-1].116.csv",
    "../../etc/passwd", "a\x1b[2J\n.csv", "\u202e.fcs", "[" * 300, "",
)  # fmt: skip


@functools.cache
def registry() -> Registry:
    """Every shipped profile."""
    return Registry.load((profiles_dir(),))


@functools.cache
def profiles() -> dict[str, Path]:
    """Shipped profiles by id."""
    found = sorted(profiles_dir().glob("*/*.toml"))
    return {load_profile(path).id: path for path in found}


@functools.cache
def sample(profile: str) -> bytes:
    """Shipped sample of a profile."""
    return read_sample(profiles()[profile]).data


def use(profile: str) -> Callable[[bytes], object]:
    """Decode with a profile as a worker does, under a name that depends on the bytes."""

    def run(data: bytes) -> object:
        chosen = registry().profiles[profile]
        name = NAMES[len(data) % len(NAMES)]
        reports = read_reports(data, chosen, name=name, limits=LIMITS) if chosen.reports else ()
        for report, notes in reports:
            answers.write_step(Reported(chosen.id, chosen.sha256, report, notes))
        if not chosen.classify:
            return decode_raw(data, chosen, name=name, limits=LIMITS)
        batch = decode(data, chosen, name=name, limits=LIMITS)
        if not batch.signals.nbytes <= LIMITS.max_expansion:
            raise AssertionError(f"{batch.signals.nbytes} bytes")
        answers.write_step(
            Decoded(
                chosen.id, chosen.sha256, batch.events, batch.channels, batch.sample, batch.notes
            )
        )
        return batch

    return run


def codec(one: Any) -> Callable[[bytes], object]:
    """Ask a codec everything that it can be asked."""

    def run(data: bytes) -> object:
        if one.is_whole(data) not in {True, False}:
            raise AssertionError("neither whole nor not")
        one.identify(data)
        table = one.read(data, dataset=1, limits=LIMITS)
        if not table.values.nbytes <= LIMITS.allowed(len(data)):
            raise AssertionError(f"{table.values.nbytes} bytes from {len(data)}")
        return table

    return run


def match(data: bytes) -> object:
    """Find the profile as the service does; look at the parts first, as the folder does."""
    registry().is_whole(data)
    return registry().match(data, NAMES[len(data) % len(NAMES)])


def draft(data: bytes) -> object:
    """Draft a profile from the capture, and lay it out."""
    found = propose(data, NAMES[len(data) % len(NAMES)])
    return render(found, Identity("acme", "one", "1.0", "Title"))


# FCS ---------------------------------------------------------------------------------------------


def small_fcs(version: str, kind: str, bits: Sequence[int], events: int = 20) -> bytes:
    """Write a small file; every value is its event's number."""
    keys = {
        "$BEGINDATA": "%BEGIN%", "$ENDDATA": "%END%", "$BYTEORD": "1,2,3,4", "$DATATYPE": kind,
        "$MODE": "L", "$NEXTDATA": "0", "$PAR": str(len(bits)), "$TOT": str(events),
        "$CYT": "sim_optical4", "FIRMWARE": "1.0",
    }  # fmt: skip
    for n, width in enumerate(bits, 1):
        keys |= {f"$P{n}B": str(width), f"$P{n}R": str(1 << min(width, 20)), f"$P{n}E": "0,0"}
        keys |= {f"$P{n}N": f"C{n}"}
    if kind == "I":
        stream = "".join(f"{e:0{w}b}"[::-1] for e in range(events) for w in bits)
        stream += "0" * (-len(stream) % 8)
        payload = bytes(int(stream[i : i + 8][::-1], 2) for i in range(0, len(stream), 8))
    else:
        payload = struct.pack(f"<{events * len(bits)}{kind.lower()}", *range(events * len(bits)))
    text = "/" + "".join(f"{key}/{value}/" for key, value in keys.items())
    begin = 58 + len(text) + 2
    text = text.replace("%BEGIN%", f"{begin:08}").replace("%END%", f"{begin + len(payload) - 1:07}")
    begin = 58 + len(text)
    fields = (58, begin - 1, begin, begin + len(payload) - 1, 0, 0)
    return (f"{version}    " + "".join(f"{n:8}" for n in fields) + text).encode() + payload


def fcs_seeds() -> list[bytes]:
    """Shipped samples, and one of each layout."""
    shipped = [sample(f"sim_optical4/{v}") for v in ("1.0", "2.0")]
    shipped += [sample(f"sysmex_xn_{what}/00-22A") for what in ("ret", "pltf")]
    made = [
        small_fcs("FCS2.0", "I", (16, 16, 32)),
        small_fcs("FCS3.0", "I", (10, 11, 12)),
        small_fcs("FCS3.1", "F", (32,) * 4),
        small_fcs("FCS3.2", "D", (64,) * 2),
        small_fcs("FCS3.0", "I", (1,) * 40),
    ]
    return shipped + made


# Tables, records, pulses -------------------------------------------------------------------------


def table_seeds() -> list[bytes]:
    """Shipped samples, parts in one capture, and what people write by hand."""
    ret = sample("sysmex_xn_ret/00-15")
    return [
        ret,
        sample("sysmex_xn_pltf/00-15"),
        join([("a.csv", b"A,B\n1,2\n"), ("b.csv", b"A,B\n3,4\n")]),
        b"FSC,SSC,FL1\n" + b"1,2.5,-3e4\n" * 30,
        b"Name;Wert\r\n" + b"1,5;2,5\r\n" * 20,
        b"a\tb\tc\n" + b"1\t2\t3\n" * 20,
    ]


def crc_behind(data: bytes) -> bytes:
    """Put a right CRC of 4 bytes at the end."""
    return data[:-4] + struct.pack("<I", binascii.crc32(data[:-4]))


@functools.cache
def records_codec() -> RecordsCodec:
    """The example of the guide."""
    guide = (docs_dir() / "codecs.md").read_text(encoding="utf-8")
    text = next(t for t in guide.split("```toml\n")[1:] if 'name = "records"' in t)
    section = tomllib.loads(text.split("```")[0])["codec"]
    return RecordsCodec.model_validate_json(json.dumps(section))


def records_seeds() -> list[bytes]:
    """Captures of the guide's instrument."""
    made = []
    for rows in (0, 1, 30):
        body = b"CELL9".ljust(8, b"\0") + b"2.1".ljust(8, b"\0") + rows.to_bytes(4, "big")
        body = body.ljust(32, b"\0") + bytes(range(4)) * rows
        made.append(body + binascii.crc32(body).to_bytes(4, "big"))
    return made


def records_seal(data: bytes) -> bytes:
    """Make the CRC right."""
    return data[:-4] + binascii.crc32(data[:-4]).to_bytes(4, "big")


def pulses_seeds() -> list[bytes]:
    """Captures of the simulated instrument with few events."""
    made = []
    for events in (1, 8):
        counts = np.full((events, 4, 48), 300, np.uint16)
        counts[:, :, 20:28] = 4000
        head = {
            "INSTRUMENT": "sim_pulse4", "SERIAL": "1", "FIRMWARE": "1.0", "VOLUME_UL": 2.0,
            "DILUTION": 200.0, "DURATION_S": 9.0, "TIMESTEP": 1e-3, "SAMPLE": "S", "SPECIES": "dog",
            "ACQUIRED": "2026-01-01",
        }  # fmt: skip
        made.append(write_pulses(counts, np.arange(events, dtype=np.uint32), head))
    return [*made, sample("sim_pulse4/1.0")]


# Messages ----------------------------------------------------------------------------------------

ASTM_WORDS: Final = (
    b"|", b"^", b"\\", b"&", b"\r", b"\n", b"&F&", b"&R&", b"&Xzz&", b"\\^&", b"H|\\^&\r", b"\rP|1",
    b"\rO|1|S", b"\rR|1|^^^RBC|7", b"\rC|1|I|x", b"\rM|1|MATRIX|G|N|-|", b"\rQ|1", b"\rL|1|N\r",
    b"\rM|1|HISTOGRAM|", b"FLOATLE-stream/deflate:base64^", b"\x02", b"\x03", b"\x04", b"\x05",
    b"\x17", b"\r\n",
)  # fmt: skip
HL7_WORDS: Final = (
    b"\rMSH|^~\\&|", b"\rOBX|1|NM|RBC||1|", b"\rOBX|1|ED|X||^^^Base64^AAAA", b"\rPID|", b"\rOBR|1|",
    b"\rNTE|", b"|", b"^", b"~", b"\\F\\", b"\\X41\\", b"\\Xzz\\", b"&", b"UNICODE UTF-8",
    b"ORU^R01", b"2.3.1", b"\x0b", b"\x1c\r", b"\r", b"\\.br\\",
)  # fmt: skip
_ASTM_IDS: Final = ("horiba_yumizen_h500/2.2.2.2b", "sysmex_xn550/00-24")
_HL7_IDS: Final = ("mindray_bc_vet/hl7-2.3.1", "urit_5160/hl7-2.3.1")


def reporting(kind: Any, options: Any, allowed: bool) -> Any:
    """Make a message codec, strict or with every leniency."""
    section = {"name": kind.model_fields["name"].annotation.__args__[0]}
    section["options"] = dict.fromkeys(options.model_fields, allowed)
    return kind.model_validate(section)


def messages(one: Any) -> Callable[[bytes], object]:
    """Read messages and columns with a codec."""

    def run(data: bytes) -> object:
        one.is_whole(data)
        one.identify(data)
        found = one.messages(data, limits=LIMITS)
        one.read(data, dataset=1, limits=LIMITS)
        return found

    return run


def unframed(data: bytes) -> bytes:
    """Take ASTM frames off."""
    return deframe(data, Leniencies(None)).body


def astm_seeds() -> list[bytes]:
    """Shipped samples without their frames."""
    plain = [unframed(sample(profile)) for profile in _ASTM_IDS]
    return [*plain, b"H|\\^&|||V\rP|1\rO|1|S\rR|1|^^^RBC|7.1|M/uL\rC|1|I|x\rL|1|N\r"]


def astm_seal(data: bytes) -> bytes:
    """Frame a message with right sums; what frames cannot carry is left out."""
    data = bytes(byte for byte in data if byte >= 32 or byte == 13).rstrip(b"\r") + b"\r"
    return b"".join((ENQ, *astm_frames(data, text_size=40 + len(data) % 200), EOT))


def matrix_seeds() -> list[bytes]:
    """Floats of a matrix, as an analyzer packs them."""
    shape = (0.0, 100.0, 0.0, 50.0, 2.0, 5.0, 6.0, 0.0, 3.0, 4.0, *map(float, range(12)))
    bins = (0.0, 9.0, 0.0, 9.0, 0.0, 0.0, 2.0, 4.0, 0.5, 1.5, 2.5, 3.5, 0.0, 7.0, 3.0, 1.0)
    return [struct.pack(f"<{len(f)}f", *f) for f in (shape, bins)]


def matrix_seal(data: bytes) -> bytes:
    """Pack floats into a record of a message."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = base64.b64encode(squeeze.compress(data) + squeeze.flush())
    record = b"M|1|MATRIX|G|N|-|FLOATLE-stream/deflate:base64^" + packed
    return b"H|\\^&|||V\rP|1\rO|1|S\r" + record + b"\rL|1|N\r"


def hl7_seeds() -> list[bytes]:
    """Shipped samples, and one with data in an observation."""
    head = b"MSH|^~\\&|A|B|||2026||ORU^R01|1|P|2.3.1\rPID|1||P1\rOBR|1||S\r"
    body = b"OBX|1|NM|RBC||6.8|10*12/L|5-8|H\rOBX|2|ED|H||^A^B^Base64^" + b"AQID" * 40 + b"\r"
    return [*map(sample, _HL7_IDS), head + body, mllp_block(head + body)]


# Framings ----------------------------------------------------------------------------------------

RESULT: Final = b"MSH|^~\\&|V|C|L|P|||ORU^R01|1|P|2.3.1\rOBX|1|NM|RBC||7.1\r"
RECORDS: Final = b"H|\\^&|||sim\rO|1|s1\rR|1|^^^RBC|7.1\rL|1|N\r"
SENDERS: Final[dict[str, tuple[dict[str, Any], Sequence[bytes]]]] = {
    "astm": ({}, [ENQ, *astm_frames(RECORDS), EOT]),
    "mllp": ({}, [mllp_block(RESULT)]),
    "packet": (PACKET_FRAMING, packet_run(bytes(range(64)), payload_size=20)),
    "block": ({"acknowledge": "06", "refuse": "15"}, [block(b"RES", b"7.1\t300")]),
}


def line(framing: str) -> Callable[[bytes], object]:
    """Feed a framer whole and in pieces, let time pass, and hang up."""
    options, _ = SENDERS[framing]

    def heard(pieces: Iterable[bytes]) -> list[Any]:
        framer, now = make_framer(framing, options), 100.0
        told = [action for piece in pieces for action in framer.feed(piece, now)]
        for _ in range(1000):
            if framer.deadline is None:
                break
            now = max(now, framer.deadline)
            told += framer.tick(now)
        else:
            raise AssertionError("it waits for ever")
        return told + framer.close()

    def run(data: bytes) -> object:
        chance = random.Random(data)
        cuts = sorted(chance.randrange(len(data) + 1) for _ in range(4))
        whole = heard([data])
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        if heard(pieces) != whole:
            raise AssertionError(f"it depends on where the stream was cut: {cuts}")
        return whole

    return run


def framer_options(data: bytes) -> object:
    """Make a framer from options as a configuration gives them."""
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise EdgeError("not TOML") from error
    made, refused = [], None
    for name in SENDERS:
        try:
            made.append(make_framer(name, table))
        except EdgeError as error:
            refused = error
    if not made and refused is not None:
        raise refused
    return made


def options_seeds() -> list[bytes]:
    """Write options of each framing as TOML."""

    def text(table: dict[str, Any], path: str = "") -> str:
        plain = [f"{k} = {json.dumps(v)}" for k, v in table.items() if not isinstance(v, dict)]
        deep = [
            f"[{path}{k}]\n{text(v, f'{path}{k}.')}"
            for k, v in table.items()
            if isinstance(v, dict)
        ]
        return "\n".join(plain + deep)

    return [text(options).encode() for options, _ in SENDERS.values()]


# Files of ours -----------------------------------------------------------------------------------


def written(name: str, data: bytes) -> Path:
    """Put bytes where a reader of files finds them."""
    path = WATCH.scratch / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def watching(prepare: Callable[[bytes], Path], read: Callable[[Path], object]) -> Any:
    """Write an input outside of the watch, and read it under it."""

    def run(data: bytes) -> object:
        WATCH.active, active = False, WATCH.active
        try:
            path = prepare(data)
        finally:
            WATCH.active = active
        return read(path)

    return run


def profile_file(data: bytes) -> Path:
    """Write a profile into the folder that it names, with the shipped tables beside it."""
    named = [re.search(rb'^%s = "([a-z0-9_.]{1,40})"' % key, data, re.MULTILINE) for key in _NAMED]
    vendor, model, firmware = ((found[1].decode() if found else "x") for found in named)
    folder = f"{vendor}_{model}"
    if not (WATCH.scratch / folder).exists():
        for table in profiles_dir().glob(f"{folder.replace('..', '')}/calibration.npz"):
            written(f"{folder}/{table.name}", table.read_bytes())
    return written(f"{folder}/{firmware}.toml", data)


_NAMED: Final = (b"vendor", b"model", b"firmware")


def members(path: Path) -> bytes:
    """Take a file of arrays apart, so that its arrays are damaged and not its sums."""
    with zipfile.ZipFile(path) as archive:
        return _BETWEEN.join(
            one.filename.encode() + b"\0" + archive.read(one) for one in archive.infolist()
        )


def archived(data: bytes) -> bytes:
    """Put arrays together again; a real file stays as it is."""
    if data.startswith(b"PK"):
        return data
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the same name twice
        for number, one in enumerate(data.split(_BETWEEN)):
            name, _, content = one.partition(b"\0")
            printable = "".join(c for c in name.decode("latin-1") if c.isalnum() or c in "._/")
            archive.writestr(zipfile.ZipInfo(printable or f"n{number}"), content)
    return stream.getvalue()


_BETWEEN: Final = b"\nMEMBER\n"


def profile_seeds() -> list[bytes]:
    """Every shipped profile."""
    return [path.read_bytes() for path in profiles().values()]


def use_profile(path: Path) -> object:
    """Load a profile and, where it loads, use it on captures."""
    loaded = load_profile(path)
    for data in profile_captures():
        try:
            loaded.codec.is_whole(data)
            loaded.codec.identify(data)
            table = decode_raw(data, loaded, name=NAMES[1], limits=LIMITS)
            if loaded.classify:
                decode(data, loaded, name=NAMES[1], limits=LIMITS)
            preview(loaded.codec, data)
        except EdgeError:
            continue
        if not table.values.nbytes <= LIMITS.allowed(len(data)):
            raise AssertionError(f"{table.values.nbytes} bytes from {len(data)}")
    return loaded


@functools.cache
def profile_captures() -> tuple[bytes, ...]:
    """One small capture of each format."""
    return (fcs_seeds()[3], table_seeds()[0], pulses_seeds()[1], astm_seeds()[1], hl7_seeds()[1])


def toml_words(seeds: Callable[[], Sequence[bytes]]) -> tuple[bytes, ...]:
    """Keys, values and headings of TOML files."""
    found = {b"\n" + line.strip() + b"\n" for seed in seeds() for line in seed.splitlines()}
    keys = {
        w for seed in seeds() for w in re.findall(rb"[\w.-]+ *= *|\"[^\"\n]*\"|\[[^\n]*\]", seed)
    }
    own = {b"true", b"[]", b"{}", b'""', b"1979-05-27", b"'''", b'"""', b"[[", b"nan", b"a.b.c = 1"}
    return tuple(sorted(found | keys | own))[:3000]


def config_seeds() -> list[bytes]:
    """The commented default, with and without its comments."""
    text = default_config_text()
    bare = re.sub(r"^# ?(?=\[|\w+ = )", "", text, flags=re.MULTILINE)
    return [text.encode(), bare.encode()]


BUNDLE: Final = max(models_dir().glob("sim_optical4-*"))


@functools.cache
def bundle_files() -> dict[str, bytes]:
    """Content of a shipped bundle."""
    return {path.name: path.read_bytes() for path in BUNDLE.iterdir()}


def bundle_with(name: str, *, manifest: bool = True) -> Callable[[bytes], Path]:
    """Write a bundle with one other file; the manifest then tells its digest and length."""

    def prepare(data: bytes) -> Path:
        folder = WATCH.scratch / f"bundle-{name}"
        files = bundle_files() | {name: data}
        if manifest:
            table = files["manifest.toml"].decode()
            entry = re.search(rf'\[files\."{re.escape(name)}"\]\n.*\n.*\n', table)
            assert entry is not None
            told = f'[files."{name}"]\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n'
            files["manifest.toml"] = table.replace(
                entry[0], f"{told}bytes = {len(data)}\n"
            ).encode()
        for file, content in files.items():
            written(f"bundle-{name}/{file}", content)
        return folder

    return prepare


def calibration(data: bytes) -> object:
    """Read a table whose digest is the one the profile tells."""
    settings = registry().profiles["sim_optical4/1.0"].calibration
    assert settings is not None
    told = settings.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    return watching(
        lambda d: written(f"calibration/{settings.table}", d).parent,
        lambda folder: read_calibration(told, folder),
    )(data)


# What other processes and machines answer --------------------------------------------------------


@functools.cache
def answer_seeds() -> list[bytes]:
    """One of each answer."""
    report = next(
        iter(read_reports(sample(_HL7_IDS[0]), registry().profiles[_HL7_IDS[0]], limits=LIMITS))
    )[0]
    counts = dict.fromkeys(CELL_CLASSES, 1)
    return [
        answers.write_step(Decoded("p/1", "0" * 64, 5, ("LA.H",), SampleInfo(sample_id="S"))),
        answers.write_step(Classified("m@1", "1" * 64, counts, (), ())),
        answers.write_step(Reported("p/1", "0" * 64, report)),
        answers.write(answers.Ready()),
        answers.write(
            answers.Failed(response="quarantine", message="m", action="a", code="stalled")
        ),
    ]


def answer(data: bytes) -> object:
    """Take an answer at the beginning of a task."""
    return answers.Order().take(answers.read(data))


def second_answer(data: bytes) -> object:
    """Take an answer after the first step."""
    order = answers.Order()
    order.take(answers.read(answer_seeds()[0]))
    return order.take(answers.read(data))


EPOCH: Final = "0" * 8 + "-0000-0000-0000-" + "0" * 12


def batch(data: bytes) -> object:
    """Unpack a request of which everything but the content is right."""
    seqs = [int(n[:18]) for n in re.findall(rb'"seq": ?(\d+)', data)] or [1]
    headers = {
        "content-type": protocol.NDJSON,
        "content-digest": protocol.content_digest(data),
        "edge-epoch": EPOCH,
        "idempotency-key": f"{EPOCH}:{min(seqs)}-{max(seqs)}",
    }
    return [item.sound for item in protocol.unpack(headers, data).items]


def compressed(data: bytes) -> object:
    """Unpack a request whose compressed bytes are what was damaged."""
    for encoding in ("gzip", "zstd", "deflate"):
        headers = {
            "content-type": protocol.NDJSON,
            "content-digest": protocol.content_digest(data),
            "edge-epoch": EPOCH,
            "content-encoding": encoding,
        }
        try:
            protocol.unpack(headers, data)
        except EdgeError as error:
            last = error
    raise last


def reply(data: bytes) -> object:
    """Read a reply of the server."""
    return protocol.read_reply(200, protocol.JSON, data, epoch=EPOCH, seqs=[1, 2])


def sync_seeds() -> list[bytes]:
    """A batch in every encoding, and a reply."""
    item = protocol.Item(
        1, "0" * 64, "run.simulated", 1, "2026-01-01T00:00:00Z", "synced", {"a": 1.5}
    )
    made = [
        protocol.pack(EPOCH, [(1, item.line())], clock="synced", encoding=encoding)[1]
        for encoding in ("identity", "gzip", "zstd")
    ]
    told = [protocol.Answer(1, "stored"), protocol.Answer(2, "rejected", "digest")]
    return [*made, protocol.write_reply(EPOCH, told, acked_through=1, server_time="2026")]


def picture_seeds() -> list[bytes]:
    """Unpacked pictures of a healthy animal."""
    folder = Path(pictures.__file__).parent.parent / "reference_pictures" / "sim_optical4"
    files = sorted(folder.glob("*.pictures"))[:2]
    return [zlib.decompress(path.read_bytes()) for path in files]


def _fcs(allowed: bool) -> FcsCodec:
    return FcsCodec(name="fcs", options=dict.fromkeys(FcsOptions.__slots__, allowed))


def _pulses() -> PulsesCodec:
    found = registry().profiles["sim_pulse4/1.0"].codec
    assert isinstance(found, PulsesCodec)
    return found


def _capture(
    profile: str, lenient: Any, strict: Any = None
) -> dict[str, Callable[[bytes], object]]:
    readers = {"profile": use(profile), "lenient": lenient, "match": match}
    return readers if strict is None else readers | {"strict": strict}


FCS_WORDS: Final = tuple(
    b"$TOT $PAR $BEGINDATA $ENDDATA $NEXTDATA $BEGINSTEXT $ENDSTEXT $BYTEORD $DATATYPE $MODE $P1B"
    b" $P1R $P1E $P1N $P1G $P1DATATYPE 4,3,2,1 1,2 4,1 I F D A L C U // FCS2.0 FCS3.2".split()
)
SHARES: Final = {
    "records": 1.5, "astm": 0.3, "astm frames": 1.5, "astm matrix": 1.5, "hl7": 0.5, "draft": 0.2,
    "framing mllp": 1.5, "framing packet": 0.4, "framing options": 1.5, "profile": 0.4,
    "calibration": 0.5, "bundle manifest": 0.25, "bundle model": 0.1, "bundle vectors": 0.1,
    "worker answer": 2.0, "sync": 1.5, "pictures": 0.5,
}  # fmt: skip
"""Inputs of a kind for one of most kinds: fewer where each costs more."""
CALIBRATION: Final = profiles_dir() / "sim_optical4" / "calibration.npz"
ARRAY_WORDS: Final = (
    b"PK\x01\x02", b"\x93NUMPY\x01\x00", b"'descr': '<f4'", b"'descr': '<f8'", b"(1,)", b"()",
    b"|O", b"'shape': (1000000000,)", b"True", b"\nMEMBER\n", b"peak.npy\0", b"signals.npy\0",
)  # fmt: skip

TARGETS: Final = (
    Target(
        "fcs", fcs_seeds, _capture("sim_optical4/1.0", codec(_fcs(True)), codec(_fcs(False))),
        FCS_WORDS,
    ),
    Target(
        "table", table_seeds,
        {
            "generic": use("generic_csv"), "ret": use("sysmex_xn_ret/00-15"),
            "pltf": use("sysmex_xn_pltf/00-15"), "match": match,
        },
        (b",", b";", b"\t", b"\n", b'"', b"RET", b"1e5", b"FSC,SSC\n", b"PK\x03\x04"),
    ),
    Target(
        "records", records_seeds,
        {"codec": codec(records_codec()), "preview": lambda d: preview(records_codec(), d)},
        (b"CELL9", b"2.1"), records_seal,
    ),
    Target(
        "pulses", pulses_seeds, _capture("sim_pulse4/1.0", codec(_pulses())),
        (b"EDPULSE1", b"sim_pulse4", b"1.0"), crc_behind,
    ),
    Target(
        "astm", astm_seeds,
        {
            "horiba": use(_ASTM_IDS[0]), "sysmex": use(_ASTM_IDS[1]), "match": match,
            "strict": messages(reporting(AstmCodec, AstmOptions, False)),
            "lenient": messages(reporting(AstmCodec, AstmOptions, True)),
        },
        ASTM_WORDS, astm_seal,
    ),
    Target(
        "astm frames", lambda: [astm_seal(seed) for seed in astm_seeds()],
        {"lenient": messages(reporting(AstmCodec, AstmOptions, True)), "horiba": use(_ASTM_IDS[0])},
        ASTM_WORDS,
    ),
    Target(
        "astm matrix", matrix_seeds,
        {"strict": messages(reporting(AstmCodec, AstmOptions, False))}, (), matrix_seal,
    ),
    Target(
        "hl7", hl7_seeds,
        {
            "mindray": use(_HL7_IDS[0]), "urit": use(_HL7_IDS[1]), "match": match,
            "strict": messages(reporting(Hl7Codec, Hl7Options, False)),
            "lenient": messages(reporting(Hl7Codec, Hl7Options, True)),
        },
        HL7_WORDS,
    ),
    Target(
        "draft", lambda: [*profile_captures(), *records_seeds(), *table_seeds()[3:]],
        {"draft": draft}, FCS_WORDS + HL7_WORDS,
    ),
    *(
        Target(f"framing {name}", lambda sent=sent: [b"".join(sent)], {"line": line(name)}, sent)
        for name, (_, sent) in SENDERS.items()
    ),
    Target(
        "framing options", options_seeds, {"options": framer_options}, toml_words(options_seeds),
    ),
    Target(
        "profile", profile_seeds,
        {"load": watching(profile_file, use_profile)},
        toml_words(profile_seeds),
    ),
    Target(
        "calibration", lambda: [CALIBRATION.read_bytes(), members(CALIBRATION)],
        {"read": calibration}, ARRAY_WORDS, archived, also=(TableError,),
    ),
    Target(
        "config", config_seeds,
        {"load": watching(lambda d: written("config.toml", d), load_config)},
        toml_words(config_seeds),
    ),
    Target(
        "bundle manifest", lambda: [bundle_files()["manifest.toml"]],
        {
            "load": watching(
                bundle_with("manifest.toml", manifest=False),
                lambda folder: load_bundle(folder, verify=False),
            )
        },
        toml_words(lambda: [bundle_files()["manifest.toml"][:4000]]),
    ),
    Target(
        "bundle model", lambda: [bundle_files()["stage1.onnx"]],
        {"load": watching(bundle_with("stage1.onnx"), load_bundle)},
        (b"Gemm", b"Relu", b"Sqrt", b"Loop", b"location", b"external_data", b"\x70\x01"),
    ),
    Target(
        "bundle vectors", lambda: [bundle_files()["golden.npz"], members(BUNDLE / "golden.npz")],
        {"load": watching(bundle_with("golden.npz"), load_bundle)},
        ARRAY_WORDS, archived,
    ),
    Target(
        "worker answer", answer_seeds, {"first": answer, "second": second_answer},
        (b'"step":', b'"kind":', b"null", b"NaN", b"1e999", b"[]", b"{}", b"-1", b'"fatal"'),
        also=(answers.AnswerError,),
    ),
    Target(
        "sync", sync_seeds, {"batch": batch, "compressed": compressed, "reply": reply},
        (b'"seq":', b'"digest":', b"null", b"1e999", b"\n", b"[", b'"status":"stored"'),
    ),
    Target(
        "pictures", picture_seeds, {"decode": pictures.decode},
        (b'"bins":', b'"classes":', b"0", b"[]", b"null"), zlib.compress,
    ),
)  # fmt: skip
