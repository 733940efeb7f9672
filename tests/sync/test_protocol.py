"""The wire protocol: what one end writes the other reads, and nothing else is taken."""

import gzip
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_daemon.canonical import canonical, digest
from edge_daemon.sync import protocol
from edge_daemon.sync.protocol import Answer, Item, ProtocolError

EPOCH = "0b9c52d2-6d24-4b64-9a5a-6f6c1d5a8f10"
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
BODIES = st.dictionaries(
    TEXT,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


def item(seq=1, body=None, **changes):
    body = {"run": seq} if body is None else body
    made = Item(
        seq=seq,
        digest=digest(canonical(body)),
        type="run.clinical",
        schema=1,
        created_at="2026-11-28T04:00:00Z",
        clock_state="synchronised",
        body=body,
    )
    return replace(made, **changes)


def packed(items, encoding="zstd"):
    lines = [(one.seq, one.line()) for one in items]
    headers, payload = protocol.pack(EPOCH, lines, clock="synchronised", encoding=encoding)
    return {name.lower(): value for name, value in headers.items()}, payload


@given(bodies=st.lists(BODIES, min_size=1, max_size=5), encoding=st.sampled_from(["zstd", "gzip", "identity"]))  # fmt: skip  # noqa: E501
def test_what_is_packed_is_unpacked_with_its_digests(bodies, encoding):
    items = tuple(item(seq, body) for seq, body in enumerate(bodies, 1))
    batch = protocol.unpack(*packed(items, encoding))
    assert batch == protocol.Batch(EPOCH, items)
    assert all(one.sound for one in batch.items)


@given(payload=st.binary(max_size=200), encoding=st.sampled_from(["zstd", "gzip", "identity", "br"]))  # fmt: skip  # noqa: E501
def test_any_bytes_are_refused_with_a_status(payload, encoding):
    headers, _ = packed([item()])
    headers |= {"content-digest": protocol.content_digest(payload), "content-encoding": encoding}
    with pytest.raises(ProtocolError) as refused:
        protocol.unpack(headers, payload)
    assert refused.value.status in {400, 413, 415}


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_byte_of_a_batch_is_noticed(place, flip):
    headers, payload = packed([item(n) for n in range(1, 20)])
    place %= len(payload)
    damaged = payload[:place] + bytes([payload[place] ^ flip]) + payload[place + 1 :]
    with pytest.raises(ProtocolError, match="Content-Digest"):
        protocol.unpack(headers, damaged)


def test_a_body_that_changed_after_it_was_digested_is_not_sound():
    headers, payload = packed([item(), item(2, digest="0" * 64)])
    first, second = protocol.unpack(headers, payload).items
    assert first.sound
    assert not second.sound


@pytest.mark.parametrize("body", ['{"x":1e999}', '{"x":"\\ud800"}'], ids=["infinite", "half"])
def test_what_has_no_canonical_text_is_not_sound(body):
    line = item().line().replace(b'{"run":1}', body.encode())
    headers, payload = protocol.pack(EPOCH, [(1, line)], clock="synchronised", encoding="identity")
    (one,) = protocol.unpack({k.lower(): v for k, v in headers.items()}, payload).items
    assert not one.sound


@pytest.mark.parametrize("encoding", ["zstd", "gzip", "identity"])
def test_a_batch_that_expands_too_far_is_refused_without_expanding_it(encoding):
    line = item(body={"x": "0" * (protocol.MAX_BYTES + 10)}).line()
    headers, payload = protocol.pack(EPOCH, [(1, line)], clock="synchronised", encoding=encoding)
    with pytest.raises(ProtocolError) as refused:
        protocol.unpack({k.lower(): v for k, v in headers.items()}, payload)
    assert (refused.value.status, refused.value.code) == (413, "bytes")


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
def test_a_body_cut_short_is_refused(encoding):
    headers, payload = packed([item(n) for n in range(1, 50)], encoding)
    cut = payload[:-9]
    headers["content-digest"] = protocol.content_digest(cut)
    with pytest.raises(ProtocolError) as refused:
        protocol.unpack(headers, cut)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"content-type": "text/html"}, "content_type"),
        ({"content-digest": "sha-256=::"}, "content_digest"),
        ({"edge-epoch": "x"}, "epoch"),
        ({"edge-epoch": EPOCH.replace("0", "1")}, "idempotency_key"),
        ({"idempotency-key": f"{EPOCH}:1-2"}, "idempotency_key"),
        ({"content-encoding": "br"}, "content_encoding"),
    ],
)
def test_headers_that_do_not_fit_are_refused(change, code):
    headers, payload = packed([item()])
    with pytest.raises(ProtocolError) as refused:
        protocol.unpack(headers | change, payload)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"{}",
        item().line().replace(b'"seq":1', b'"seq":true'),
        item().line().replace(b'"seq":1', b'"seq":0'),
        item().line().replace(b'"seq":1', b'"seq":9223372036854775808'),
        item().line().replace(b'"schema":1', b'"schema":1.0'),
        item().line().replace(b'{"run":1}', b'"run"'),
        item().line().replace(b'{"run":1}', b'{"run":NaN}'),
        item().line().replace(b"run.clinical", b""),
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_item_refuses_the_batch(line):
    headers, payload = protocol.pack(EPOCH, [(1, line + b"\n")], clock="no", encoding="identity")
    with pytest.raises(ProtocolError) as refused:
        protocol.unpack({k.lower(): v for k, v in headers.items()}, payload)
    assert (refused.value.status, refused.value.code) == (400, "line")
    assert "line 1" in refused.value.message


def test_too_many_items_and_one_item_twice_are_refused():
    headers, payload = packed([item(n) for n in range(1, protocol.MAX_ITEMS + 2)])
    with pytest.raises(ProtocolError) as refused:
        protocol.unpack(headers, payload)
    assert refused.value.status == 413
    headers, payload = packed([item(), item()])
    with pytest.raises(ProtocolError) as refused:
        protocol.unpack(headers, payload)
    assert refused.value.code == "twice"


def reply(answers, epoch=EPOCH):
    return protocol.write_reply(epoch, answers, acked_through=3, server_time="now")


def read(payload, status=200, content_type="application/json; charset=utf-8", seqs=(1, 2, 3)):
    return protocol.read_reply(status, content_type, payload, epoch=EPOCH, seqs=seqs)


def test_a_reply_says_what_became_of_each_item():
    answers = [Answer(1, "stored"), Answer(2, "duplicate"), Answer(3, "rejected", "digest")]
    assert read(reply(answers)) == {a.seq: a for a in answers}


def test_answers_to_items_that_were_not_sent_do_not_count():
    assert read(reply([Answer(1, "stored"), Answer(7, "stored")]), seqs=(1, 2)) == {
        1: Answer(1, "stored")
    }


@given(payload=st.binary(max_size=300) | BODIES.map(lambda body: json.dumps(body).encode()))
def test_any_other_answer_retires_nothing(payload):
    with pytest.raises(ProtocolError):
        read(payload)


@given(cut=st.integers(1, 10_000))
def test_a_truncated_reply_retires_nothing(cut):
    whole = reply([Answer(n, "stored") for n in (1, 2, 3)])
    with pytest.raises(ProtocolError):
        read(whole[: -(1 + cut % (len(whole) - 1))])


@pytest.mark.parametrize(
    ("status", "content_type"), [(202, "application/json"), (200, "text/html"), (204, "")]
)
def test_only_a_200_of_json_is_a_reply(status, content_type):
    with pytest.raises(ProtocolError):
        read(reply([Answer(1, "stored")]), status, content_type)


def test_a_reply_about_another_database_retires_nothing():
    with pytest.raises(ProtocolError, match="another database"):
        read(reply([Answer(1, "stored")], epoch=EPOCH.replace("0", "1")))


def test_an_unknown_word_of_a_later_server_leaves_the_item_waiting():
    told = json.loads(reply([Answer(1, "stored"), Answer(2, "stored")]))
    told["results"][1]["status"] = "parked"
    assert read(json.dumps(told).encode()) == {1: Answer(1, "stored")}


def test_gzip_batches_are_the_same_every_time():
    assert packed([item()], "gzip") == packed([item()], "gzip")
    assert gzip.decompress(packed([item()], "gzip")[1]) == item().line()
