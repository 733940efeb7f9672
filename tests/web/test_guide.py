"""The guide: every topic, every link and picture, and no more than a box should carry."""

import re
import shlex

import pytest

from edge_daemon.web import guide
from edge_daemon.web.guide import Block, Span

EVERY = (*guide.TECHNICIAN, *guide.INSTALLER)
LARGEST, TOGETHER = 120_000, 600_000


def test_each_file_is_a_topic_and_each_topic_a_file():
    assert {path.stem for path in guide.folder().glob("*.md")} == set(EVERY)


@pytest.mark.parametrize("slug", EVERY)
def test_a_topic(browser, slug):
    page = browser.get(f"/guide/{slug}")
    assert page.status == 200
    assert guide.topic(slug).title in page.shown
    for address in re.findall(r'(?:href|src)="(/[^"]*)"', page.text):
        assert browser.get(address).status == 200, address
    words = sum(len(s.text.split()) for b in guide.topic(slug).blocks for ls in b.lines for s in ls)
    assert words < 220, "one screen"


def test_the_contents_name_every_topic(browser):
    page = browser.get("/guide")
    assert [s for s in EVERY if f'href="/guide/{s}"' not in page.text] == []
    assert 'aria-current="page">Guide' in page.text


def test_what_is_not_there_is_not_found(browser):
    for path in ("/guide/nothing", "/guide/pictures/nothing.png", "/guide/pictures/..%2fflags.md"):
        assert browser.get(path).status == 404, path


def test_pictures_are_small_and_all_are_used():
    files = {path.name: path.stat().st_size for path in (guide.folder() / "pictures").iterdir()}
    used = {b.picture for slug in EVERY for b in guide.topic(slug).blocks if b.picture}
    assert used == set(files)
    assert max(files.values()) <= LARGEST, files
    assert sum(files.values()) <= TOGETHER, files
    assert len(files) >= 10


def test_commands_of_the_guide_exist():
    from edge_daemon.cli import cli

    known = {name for section in cli.sections.values() for name in section}
    lines = [
        line
        for slug in EVERY
        for block in guide.topic(slug).blocks
        if block.kind == "code"
        for line in block.lines[0][0].text.splitlines()
        if line.startswith("edge-daemon ")
    ]
    assert len(lines) > 8
    assert {shlex.split(line)[1] for line in lines} <= known


def test_text_stays_text():
    assert guide.spans("a **b** *c* `d*` [e](flags) [f](/device) <g>") == (
        Span("text", "a "),
        Span("bold", "b"),
        Span("text", " "),
        Span("italic", "c"),
        Span("text", " "),
        Span("code", "d*"),
        Span("text", " "),
        Span("link", "e", "/guide/flags"),
        Span("text", " "),
        Span("link", "f", "/device"),
        Span("text", " <g>"),
    )
    assert guide.blocks("one\ntwo\n\n- a\n- b\n\n```\n**x**\n\ny\n```\n") == (
        Block("text", ((Span("text", "one two"),),)),
        Block("list", ((Span("text", "a"),), (Span("text", "b"),))),
        Block("code", ((Span("text", "**x**\n\ny"),),)),
    )
