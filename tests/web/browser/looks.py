"""What every page is looked at for: whether people and screen readers can use it."""

from axe_playwright_python.sync_playwright import Axe


def violations(page):
    found = Axe().run(page).response["violations"]
    return [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in found]


WIDER = """() => {
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    const wide = e => e.getBoundingClientRect().right > innerWidth && !e.closest(".scroll");
    const found = [...document.querySelectorAll("main *")].filter(wide);
    return ["the page", ...found.map(e => e.outerHTML.slice(0, 100))];
}"""


def too_wide(page):
    """What reaches beyond the page's width; tables may, in a part that scrolls."""
    return page.evaluate(WIDER)
