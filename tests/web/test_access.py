"""Who may see and change what, and what a hostile page can make of this box: nothing."""

import shutil
import ssl

import pytest
from starlette.routing import Route

from edge_daemon.errors import EdgeError
from edge_daemon.signin.forms import local_path
from edge_daemon.signin.throttle import Throttle
from edge_daemon.web.pages import routes
from edge_daemon.web.passwords import PASSWORDS_NAME, Passwords
from edge_daemon.web.sessions import Sessions

TECHNICIAN = "correct horse battery"
READER = "only looking at it"


@pytest.fixture
def guarded(box, serve, open_browser):
    passwords = Passwords(box.path)
    passwords.set("technician", TECHNICIAN)
    passwords.set("reader", READER)
    return open_browser(serve().url)


def test_every_answer_carries_the_headers(browser):
    for path in ("/", "/nowhere", "/live.json", "/static/nothing"):
        headers = browser.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.evil"])
def test_another_host_name_is_refused(browser, host):
    """A web site that points its own name here reads nothing."""
    assert browser.get("/", Host=host).status == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8470", "10.1.2.3:8470"])
def test_addresses_and_the_box_are_known(browser, host):
    assert browser.get("/", Host=host).status == 200


def test_a_box_without_password_is_open_on_this_machine_alone(browser, serve, journal, wait_until):
    assert browser.get("/").status == 200
    other = serve(listen="0.0.0.0:0")
    wait_until(other.findings)
    assert other.url is None
    assert "need a password" in other.findings()[0].describe()["message"]
    assert '"event": "web_unavailable"' in journal.text


def test_a_password_asks_everybody(guarded):
    answer = guarded.get("/results/1")
    assert answer.status == 303
    assert answer.headers["Location"] == "/sign-in?next=%2Fresults%2F1"
    assert guarded.get("/live.json", Accept="*/*").status == 401
    assert guarded.get("/sign-in").status == 200


def test_sign_in_and_out(guarded, box, journal):
    box.add()
    guarded.get("/sign-in")
    before = guarded.cookies["edge_session"]
    answer = guarded.sign_in(TECHNICIAN)
    assert answer.status == 303
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert guarded.cookies["edge_session"] != before
    page = guarded.get("/")
    assert "Ada" in page.shown
    assert "Bello" in page.shown
    stolen = guarded.cookies["edge_session"]
    assert guarded.post("/sign-out", {}, form="/").status == 303
    guarded.cookies["edge_session"] = stolen
    assert guarded.get("/").status == 303
    assert '"role": "technician"' in journal.text
    assert "Ada" not in journal.text


def test_wrong_passwords_slow_down(guarded, journal):
    answers = [guarded.sign_in("wrong password").status for _ in range(6)]
    assert answers == [403] * 5 + [429]
    assert guarded.sign_in(TECHNICIAN).status == 429
    assert "web_refused" in journal.text
    assert "wrong password" not in journal.text


def test_a_reader_changes_nothing(guarded, box):
    box.add()
    guarded.sign_in(READER)
    assert guarded.get("/results/1").status == 200
    assert guarded.post("/results/1/nothing", {}).status == 403
    assert guarded.post("/settings", {"decimal": "comma"}, form="/settings").status == 303


def test_a_changed_password_ends_its_sessions(guarded, box):
    guarded.sign_in(TECHNICIAN)
    assert guarded.get("/").status == 200
    Passwords(box.path).set("technician", "another long one")
    assert guarded.get("/").status == 303


def _posts():
    return sorted(
        route.path.replace("{run_id:int}", "1")
        for route in routes()
        if isinstance(route, Route) and "POST" in route.methods
    )


@pytest.mark.parametrize("path", _posts())
def test_no_form_is_taken_without_its_token(browser, box, open_browser, path):
    box.add()
    browser.get("/settings")
    assert browser.post(path, {"token": "a.b"}).status == 403
    assert browser.post(path, {}).status == 403
    stranger = open_browser(browser.origin)
    assert browser.post(path, {"token": stranger.token("/settings")}).status == 403


@pytest.mark.parametrize("path", _posts())
@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}],
)
def test_no_form_is_taken_from_another_site(browser, path, headers):
    token = browser.token("/settings")
    assert browser.post(path, {"token": token}, **headers).status == 403


def test_a_huge_form_is_refused(browser):
    assert browser.post("/settings", {"token": "x" * 100_000}).status == 413


@pytest.mark.parametrize(
    ("asked", "gone_to"),
    [
        ("/results/1?q=2", "/results/1?q=2"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\nSet-Cookie: x=y", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_to_this_site_only(asked, gone_to):
    assert local_path(asked) == gone_to


def test_passwords_are_hashes_only_their_owner_reads(box):
    passwords = Passwords(box.path)
    passwords.set("technician", TECHNICIAN)
    file = box.path / PASSWORDS_NAME
    assert file.stat().st_mode & 0o777 == 0o600
    assert TECHNICIAN not in file.read_text()
    assert "argon2id" in file.read_text()
    assert passwords.role_of(TECHNICIAN) == "technician"
    assert passwords.role_of(READER) is None
    with pytest.raises(EdgeError, match="of the technician already"):
        passwords.set("reader", TECHNICIAN)
    with pytest.raises(EdgeError, match="expected 8 to 200"):
        passwords.set("reader", "short")
    assert passwords.remove("technician")
    assert not passwords.remove("technician")


def test_a_file_of_passwords_that_cannot_be_read_lets_nobody_in(box, browser):
    file = box.path / PASSWORDS_NAME
    file.parent.mkdir()
    file.write_text("{")
    answer = browser.get("/")
    assert answer.status == 503
    assert "not a file of passwords" in answer.text


def test_sessions_end_after_a_working_day():
    now = [0.0]
    sessions = Sessions(lambda: now[0], lambda _: "x")
    token = sessions.open("reader", "Ada")
    now[0] += 11 * 3600
    assert sessions.find(token).role == "reader"
    now[0] += 13 * 3600
    assert sessions.find(token) is None
    assert sessions.find("\udcff") is None


def test_waits_double_and_are_bounded():
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    waits = []
    for _ in range(2000):
        throttle.failed("10.0.0.1")
        waits.append(throttle.wait_s("10.0.0.1"))
    assert waits[:7] == [0, 0, 0, 0, 10, 20, 40]
    assert max(waits) == 900
    assert throttle.wait_s("10.0.0.2") == 0
    throttle.passed("10.0.0.1")
    assert throttle.wait_s("10.0.0.1") == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="system: no openssl program")
def test_other_computers_get_an_encrypted_page(box, serve, open_browser):
    """With a password the box makes itself a certificate, and serves by it."""
    Passwords(box.path).set("technician", TECHNICIAN)
    server = serve(listen="0.0.0.0:0")
    assert server.url.startswith("https://")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    page = open_browser(server.url.replace("0.0.0.0", "127.0.0.1"), context=context)
    assert page.get("/sign-in").status == 200
    answer = page.sign_in(TECHNICIAN)
    assert answer.status == 303
    assert "Secure" in answer.headers["Set-Cookie"]
    assert (box.path / "web" / "key.pem").stat().st_mode & 0o777 == 0o600
