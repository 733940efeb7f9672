"""From the configuration and the profiles to a source."""

from __future__ import annotations

import shutil

import pytest

from edge_daemon.clock import SystemClock
from edge_daemon.config import Settings
from edge_daemon.decode.registry import Registry
from edge_daemon.errors import Fatal
from edge_daemon.lines import make_source, unusable
from edge_daemon.resources import profiles_dir
from edge_daemon.sources.framing.astm import AstmFramer
from edge_daemon.sources.framing.mllp import MllpFramer
from edge_daemon.sources.ports import LineSettings


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """The shipped profiles, and one whose instrument leaves the factory with 19200 baud."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(profiles_dir() / "sysmex_xn550", site / "sysmex_xn550")
    (made,) = (site / "sysmex_xn550").glob("*.toml")
    text = made.read_text(encoding="utf-8").replace(made.stem, "00-99")
    serial = '[source]\nkind = "serial"\n[source.serial]\nbaud = 19200\nparity = "even"\n'
    text = text.replace('[source]\nkind = "serial"\n', serial)
    made.with_stem("00-99").write_text(text, encoding="utf-8")
    made.unlink()
    loaded = Registry.load([profiles_dir(), site])
    assert loaded.problems == ()
    return loaded


@pytest.fixture
def make(registry, tmp_path):
    def make(**source):
        box = {"data_dir": str(tmp_path / "data")}
        settings = Settings.model_validate({"box": box, "source": [source]})
        made = make_source(settings, settings.source[0], registry, (None, None), SystemClock())
        made.stop()
        return made

    return make


SERIAL = {"name": "s1", "kind": "serial", "port": "/dev/ttyS0"}
TCP = {"name": "t1", "kind": "tcp", "listen": "127.0.0.1:0"}


def test_a_profile_says_framing_and_line_settings(make, tmp_path):
    source = make(**SERIAL, profile="sysmex_xn550/00-99")
    assert source._settings == LineSettings(baud=19200, parity="even")
    framer = source.spec.make_framer()
    assert isinstance(framer, AstmFramer)
    assert framer._options.without_session
    assert source.spec.journal == tmp_path / "data" / "journal" / "s1"
    assert source.spec.suffix == "astm"
    assert (source.spec.message_s, source.spec.idle_s) == (None, None)


def test_the_file_wins_over_the_profile(make):
    source = make(**SERIAL, profile="sysmex_xn550/00-99", baud=300, framing="mllp", name_suffix="x")
    assert source._settings == LineSettings(baud=300, parity="even")
    assert isinstance(source.spec.make_framer(), MllpFramer)
    assert source.spec.suffix == "x"


def test_without_a_profile_the_usual_line_settings_count(make):
    assert make(**SERIAL, framing="astm")._settings == LineSettings()


def test_every_connection_gets_a_framer_of_its_own(make):
    source = make(**TCP, framing="mllp")
    assert source.spec.make_framer() is not source.spec.make_framer()
    assert (source.spec.suffix, source.spec.message_s) == ("hl7", 600.0)


def test_only_this_box_may_connect_unless_others_are_named(make):
    alone = make(**TCP, framing="mllp")
    assert alone._allowed("127.0.0.1")
    assert not alone._allowed("192.168.1.7")
    open_to = make(**TCP | {"listen": "0.0.0.0:0"}, framing="mllp", allow=["192.168.1.0/24"])
    assert open_to._allowed("192.168.1.7")
    assert open_to._allowed("::ffff:192.168.1.7")
    assert not open_to._allowed("127.0.0.1")
    assert not open_to._allowed("fd00::1")


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"profile": "nobody_none/1"}, "no profile 'nobody_none/1'"),
        ({"profile": "sim_optical4/1.0"}, "says no framing"),
        ({"framing": "morse"}, "unknown framing 'morse'"),
        ({"framing": "astm", "framing_options": {"max_text": "x"}}, "max_text is 'x'"),
    ],
)
def test_what_cannot_be_framed_is_refused_with_a_reason(make, registry, bad, expected):
    with pytest.raises(Fatal, match="source s1") as caught:
        make(**SERIAL, **bad)
    assert expected in caught.value.message
    assert caught.value.action
    assert caught.value.exit_code == 78
    settings = Settings.model_validate({"source": [SERIAL | bad]})
    (problem,) = unusable(settings, registry)
    assert problem.key == f"source[0].{next(iter(bad))}"
    assert expected in problem.message
