"""The page a report is: one HTML file, no script, nothing fetched, light, dark and on paper."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_daemon.training.report_figures import Figure, Table


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    Attributes
    ----------
    title, text
        Heading, and what to look for.
    tables
        Numbers to read, each with a heading; shown openly.
    figures
        Drawings; their numbers are folded away below each.
    """

    title: str
    text: str
    tables: Sequence[tuple[str, Table]] = field(default_factory=tuple)
    figures: Sequence[Figure] = field(default_factory=tuple)


_LIGHT = "--ink:#1c2330;--soft:#5b6472;--page:#fff;--card:#f6f7f9;--edge:#d9dde3;"
_DARK = "--ink:#e6e9ee;--soft:#9aa4b2;--page:#12161c;--card:#1a2029;--edge:#333b47;"
_SERIES: Final = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a6ad8", "#a3a51f",
    "#8c564b",
)  # fmt: skip
_CLASSES: Final = ("#d5452f", "#2f7fd6", "#a259c4", "#12a06f", "#8a8f98")
"""Pure red cell, reticulocyte, clump, platelet, other; told apart with any colour vision."""

_STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;max-width:1400px;padding:24px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,"Segoe UI","Liberation Sans",sans-serif}}
h1{{font-size:26px;margin:0 0 4px}} h2{{font-size:20px;margin:36px 0 4px}}
h3{{font-size:15px;margin:0 0 2px}} p{{margin:4px 0 12px;max-width:80ch;color:var(--soft)}}
.mark{{display:inline-block;border:2px solid #c47f00;color:#c47f00;font-weight:700;
padding:0 8px;border-radius:4px;margin:6px 0}}
.figures{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(400px,100%),1fr));
gap:16px;align-items:start}}
figure{{margin:0;padding:14px;background:var(--card);border:1px solid var(--edge);
border-radius:8px;min-width:0}}
figcaption{{font-size:13px;color:var(--soft);margin-bottom:6px}}
svg{{width:100%;height:auto;display:block}} svg text{{font-size:11px;fill:var(--soft)}}
.grid{{stroke:var(--edge);stroke-width:1}}
.guide{{stroke:var(--ink);stroke-width:1;stroke-dasharray:5 4;fill:none}}
path{{stroke:none!important}}
.line{{fill:none!important;stroke-width:1.8}}
.legend{{display:flex;flex-wrap:wrap;gap:2px 12px;font-size:12px;margin-top:4px}}
.legend svg{{width:10px;height:10px;display:inline-block;margin-right:4px}}
.scroll{{overflow-x:auto;margin-bottom:14px}}
table{{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}}
th,td{{padding:3px 10px;text-align:right;border-bottom:1px solid var(--edge);white-space:nowrap}}
th:first-child,td:first-child,td.words{{text-align:left}}
td.words{{white-space:normal;min-width:32ch}} th{{color:var(--soft);font-weight:600}}
details{{margin-top:6px;font-size:13px}} summary{{cursor:pointer;color:var(--soft)}}
details .scroll{{max-height:320px;overflow:auto}}
@media print{{:root{{{_LIGHT}}} body{{max-width:none;padding:0;font-size:12px}}
figure,tr{{break-inside:avoid}} details{{display:none}} h2{{break-after:avoid}}
.figures{{grid-template-columns:repeat(2,1fr)}} *{{print-color-adjust:exact}}}}
""" + "".join(
    f".{letter}{i}{{fill:{colour};stroke:{colour}}}"
    for letter, colours in (("s", _SERIES), ("c", _CLASSES))
    for i, colour in enumerate(colours)
)


def page(title: str, subtitle: str, sections: Sequence[Section], *, simulated: bool) -> str:
    """Write the whole page.

    Parameters
    ----------
    title, subtitle
        Head of the page.
    sections
        In order.
    simulated
        Whether to set the permanent mark.
    """
    mark = '<div class="mark">SIMULATED</div>' if simulated else ""
    body = "".join(_section(section) for section in sections)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width,initial-scale=1"/>'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1>{mark}<p>{html.escape(subtitle)}</p>{body}</body></html>\n"
    )


def _section(section: Section) -> str:
    tables = "".join(
        (f"<h3>{html.escape(name)}</h3>" if name else "")
        + f'<div class="scroll">{table.html()}</div>'
        for name, table in section.tables
    )
    figures = "".join(_figure(figure) for figure in section.figures)
    return (
        f"<section><h2>{html.escape(section.title)}</h2><p>{html.escape(section.text)}</p>"
        f'{tables}<div class="figures">{figures}</div></section>'
    )


def _figure(figure: Figure) -> str:
    legend = "".join(
        f'<span><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="{style}" width="10" '
        f'height="10"/></svg>{html.escape(name)}</span>'
        for style, name in figure.keys
    )
    return (
        f"<figure><h3>{html.escape(figure.title)}</h3>"
        f"<figcaption>{html.escape(figure.caption)}</figcaption>{figure.svg}"
        f'<div class="legend">{legend}</div><details><summary>Numbers</summary>'
        f'<div class="scroll">{figure.table.html()}</div></details></figure>'
    )
