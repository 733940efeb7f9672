"""The page as part of the service: there when it can be, and never in the way."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
from urllib.parse import urlencode, urlsplit

from edge_daemon.store import queries


def status(service):
    try:
        return json.loads((service.data / "run" / "status.json").read_text())
    except (OSError, ValueError):
        return {}


def runs(service):
    try:
        db = queries.connect(service.data)
    except Exception:  # noqa: BLE001 - the service has not made it yet
        return []
    try:
        return queries.results(db, all_runs=True)
    finally:
        db.close()


class Page:
    def __init__(self, service, wait_until):
        wait_until(lambda: (status(service).get("web") or {}).get("url"))
        self.parts = urlsplit(status(service)["web"]["url"])
        self.cookie = ""

    def ask(self, method, path, fields=None, *, keep=False):
        connection = http.client.HTTPConnection(self.parts.hostname, self.parts.port, timeout=60)
        headers = {"Accept": "text/html", "Cookie": self.cookie}
        body = None
        if fields is not None:
            body = urlencode(fields)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        if set_cookie := answer.headers["Set-Cookie"]:
            self.cookie = set_cookie.split(";")[0]
        if keep:
            return connection, answer
        text = answer.read().decode()
        connection.close()
        return answer, text


def test_the_service_shows_what_it_analysed_and_stops_with_readers(service, cohort, wait_until):
    process = service.start()
    shutil.copy(min(cohort.glob("*.fcs")), service.export)
    wait_until(lambda: runs(service), 120)
    page = Page(service, wait_until)
    answer, text = page.ask("GET", f"/results/{runs(service)[0]['id']}")
    assert answer.status == 200
    assert "SIMULATED" in text
    connection, stream = page.ask("GET", "/live", keep=True)
    assert stream.readline().startswith(b"data: ")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    stream.close()
    connection.close()
    assert service.logged("web_serving") == 1
    assert service.logged("web_defect") == 0


def test_a_port_that_is_taken_stops_no_result(service, cohort, wait_until):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = service.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}")
        service.config.write_text(text)
        process = service.start()
        shutil.copy(min(cohort.glob("*.fcs")), service.export)
        wait_until(lambda: runs(service), 120)
        wait_until(lambda: service.logged("web_unavailable"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_species_corrected_on_the_page_is_analysed_again(service, cohort, wait_until):
    service.start()
    dog = next(path for path in sorted(cohort.glob("*.fcs")) if "dog" in path.name)
    shutil.copy(dog, service.export)
    wait_until(lambda: runs(service), 120)
    page = Page(service, wait_until)
    first = runs(service)[0]["id"]
    _, form = page.ask("GET", f"/results/{first}/amend?what=correct")
    token = re.search(r'name="token" value="([^"]+)"', form)[1]
    fields = {"token": token, "species": "cat", "reason": "cat entered as dog", "by": "Ada"}
    answer, _ = page.ask("POST", f"/results/{first}/correct", fields)
    assert answer.status == 303
    made = int(re.search(r"/results/(\d+)", answer.headers["Location"])[1])

    def newest():
        return json.loads(page.ask("GET", f"/results/{made}/newest.json")[1])["newest"]

    wait_until(lambda: newest() > made, 120)
    again = runs(service)[0]
    assert again["id"] == newest()
    assert again["species"] == "cat"
    assert not [flag for flag in again["flags"] if flag["code"] == "species_corrected"]
