"""The page around a space-time diagram: names, legend, style, and the little script that stretches
time and hides kinds. Nothing is loaded from elsewhere; without the script the diagram is all there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from protocol.sim.record import MessageKind

STYLE = """
:root { color-scheme: light dark;
  --paper: #fcfcfa; --ink: #25282c; --soft: #8b9097; --grid: #ececea; --node: #b9bdc3;
  --votes: #b4531c; --appends: #2a62b8; --snapshots: #7a3fb0; --gossip: #5c8f56;
  --membership: #9aa0a8; --other: #6b7480;
  --leader: #f2c94c; --candidate: #f0a36b; --crash: #3b3f46; --cut: #c9302c; --error: #c9302c; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #17191c; --ink: #dfe2e6; --soft: #8a9099; --grid: #25282d; --node: #4d535b;
  --votes: #e89258; --appends: #78a9f0; --snapshots: #bd8df0; --gossip: #8cc084;
  --membership: #6f7680; --other: #98a1ad;
  --leader: #a8842a; --candidate: #8f5a33; --crash: #9aa0a8; --cut: #e0605c; --error: #ef7773; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 13px/1.4 system-ui, sans-serif; }
header { position: sticky; top: 0; z-index: 2; background: var(--paper);
  border-bottom: 1px solid var(--node); min-width: max-content; }
#bar { padding: 8px 14px 2px; display: flex; gap: 6px 18px; align-items: baseline;
  flex-wrap: wrap; max-width: 98vw; position: sticky; left: 0; }
h1 { font-size: 15px; margin: 0; }
#bar p, #bar label { margin: 0; color: var(--soft); }
#bar label { cursor: pointer; color: var(--ink); }
#bar input { margin: 0 4px 0 0; vertical-align: -2px; }
#bar button { font: inherit; min-width: 26px; border: 1px solid var(--node); border-radius: 4px;
  background: none; color: inherit; cursor: pointer; }
#bar i { display: inline-block; width: 18px; height: 0; border-top: 2px solid; margin-right: 5px;
  vertical-align: 4px; }
#bar i.band { height: 10px; border: 0; vertical-align: -1px; border-radius: 3px; }
#bar i.dashed { border-top-style: dashed; border-top-color: var(--soft); }
#names { position: relative; height: 24px; }
#names span { position: absolute; transform: translateX(-50%); font-weight: 600; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; top: 2px; }
#said { position: fixed; bottom: 0; left: 0; right: 0; padding: 4px 14px; min-height: 18px;
  background: var(--ink); color: var(--paper); z-index: 3; font-family: ui-monospace, monospace;
  font-size: 12px; opacity: 0; pointer-events: none; }
#said.on { opacity: .94; }
svg { display: block; margin-bottom: 30px; }
svg text { font: 11px ui-monospace, monospace; fill: var(--ink); }
.axis text { text-anchor: end; fill: var(--soft); }
.grid { stroke: var(--grid); }
.nodes line { stroke: var(--node); stroke-width: 2; }
.messages line { stroke: currentColor; stroke-width: 1.2; opacity: .85; }
.messages line:hover { stroke-width: 3; opacity: 1; }
.messages .lost { stroke-dasharray: 5 4; }
.messages .open { stroke-dasharray: 1 4; }
.head { fill: currentColor; } .cross { stroke: currentColor; stroke-width: 1.6; }
.k-votes { color: var(--votes); } .k-appends { color: var(--appends); }
.k-snapshots { color: var(--snapshots); } .k-gossip { color: var(--gossip); }
.k-membership { color: var(--membership); } .k-other { color: var(--other); }
.messages.k-membership line, .messages.k-gossip line { stroke-width: 1; opacity: .6; }
.r-leader { fill: var(--leader); opacity: .75; }
.r-candidate { fill: var(--candidate); opacity: .8; }
.r-pre_candidate { fill: var(--candidate); opacity: .4; }
svg .term { text-anchor: end; font-weight: 700; }
.f-crash { fill: var(--crash); opacity: .22; } .f-pause { fill: var(--appends); opacity: .13; }
.f-cut { fill: var(--cut); opacity: .10; } .f-other { fill: var(--votes); opacity: .10; }
svg .fault { fill: var(--soft); font-style: italic; }
.facts circle { fill: var(--ink); stroke: var(--paper); stroke-width: 1.2; }
.facts .t-error { fill: var(--error); } .facts .t-role { fill: var(--votes); }
.facts .t-task { fill: var(--appends); } .facts .t-store { fill: var(--gossip); }
.facts .t-member { fill: var(--membership); }
.facts text, svg .term { paint-order: stroke; stroke: var(--paper); stroke-width: 3px;
  stroke-linejoin: round; }
.hidden { display: none; }
"""

SCRIPT = """
const svg = document.getElementById("diagram"), said = document.getElementById("said");
const top_ = +svg.dataset.top, height = +svg.getAttribute("height"), bottom = +svg.dataset.bottom;
const kept = [];
for (const each of svg.querySelectorAll("line, rect, circle, text"))
  for (const name of ["y", "y1", "y2", "cy"])
    if (each.hasAttribute(name)) {
      // a text is a little below what it belongs to: that does not stretch
      const shift = each.tagName == "text" ? (each.className.baseVal == "fault" ? 12 :
        each.className.baseVal == "term" ? 10 : 4) : 0;
      kept.push([each, name, +each.getAttribute(name) - shift - top_, shift]);
    }
const tall = [...svg.querySelectorAll("rect")].map(each => [each, +each.getAttribute("height")]);
const labels = [...svg.querySelectorAll(".facts text")];
let zoom = 1;
function stretch(factor) {
  const middle = (scrollY - top_) / zoom;
  zoom = Math.min(64, Math.max(0.125, factor));
  for (const [each, name, y, shift] of kept)
    each.setAttribute(name, top_ + (y > 0 ? y * zoom : y) + shift);
  for (const [each, size] of tall) each.setAttribute("height", Math.max(3, size * zoom));
  svg.setAttribute("height", top_ + (height - top_ - bottom) * zoom + bottom);
  const below = {};
  for (const each of labels) {
    const y = +each.getAttribute("y"), node = each.dataset.node;
    each.classList.toggle("hidden", y < (below[node] || 0));
    if (!each.classList.contains("hidden")) below[node] = y + 12;
  }
  scrollTo(scrollX, middle * zoom + top_);
}
document.getElementById("in").onclick = () => stretch(zoom * 1.5);
document.getElementById("out").onclick = () => stretch(zoom / 1.5);
document.getElementById("reset").onclick = () => stretch(1);
for (const box of document.querySelectorAll("#bar input"))
  box.onchange = () => {
    for (const each of svg.querySelectorAll(box.dataset.group))
      each.classList.toggle("hidden", !box.checked);
  };
svg.onmouseover = event => {
  const title = event.target.querySelector && event.target.querySelector(":scope > title");
  said.classList.toggle("on", !!title);
  if (title) said.textContent = title.textContent;
};
"""


# What XML allows in no form: most control characters, surrogates, two others.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escaped(text: str) -> str:
    """Any text as text, in an element or an attribute."""
    return escape(_FORBIDDEN.sub("\ufffd", text))


def page(title: str, summary: str, names: str, svg: str, kinds: Mapping[MessageKind, int]) -> str:
    """The whole page. `names` and `svg` are markup, the rest is text."""
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>',
            f"<title>{escaped(title)}</title>",
            f"<style>{STYLE}</style></head><body>",
            f'<header><div id="bar"><h1>{escaped(title)}</h1><p>{escaped(summary)}</p>',
            *_legend(kinds),
            '<span><button id="out" title="less room for time">−</button> '
            '<button id="in" title="more room for time">+</button> '
            '<button id="reset">1:1</button></span></div>',
            f'<div id="names">{names}</div></header>',
            svg,
            '<div id="said"></div>',
            f"<script>//<![CDATA[\n{SCRIPT}//]]></script></body></html>",
            "",
        ]
    )


def _legend(kinds: Mapping[MessageKind, int]) -> list[str]:
    found = [
        f'<label><input type="checkbox" checked="checked" data-group=".messages.k-{kind.value}"/>'
        f'<i class="k-{kind.value}"></i>{kind.value} ({count})</label>'
        for kind, count in kinds.items()
    ]
    found.append(
        '<label><input type="checkbox" checked="checked" data-group=".facts"/>facts</label>'
    )
    bands = (("leader", "--leader"), ("candidate", "--candidate"), ("crash", "--crash"))
    found += [
        f'<span><i class="band" style="background:var({colour});opacity:.7"></i>{name}</span>'
        for name, colour in (*bands, ("cut", "--cut"))
    ]
    found.append('<span><i class="dashed"></i>lost</span>')
    return found
