"""A recording as a space-time diagram (Lamport 1978): one HTML page, all of it inside.

Time goes down, each node is a line, a message is an arrow from when it was sent to when it came.
What was lost ends on the way in a cross; what had not come when the recording ended just ends.
Facts are marks on their node's line, roles are bands along it, faults shade it; everything tells
more when pointed at.

Time is not to scale: much happens in a millisecond, then nothing for a second. The distance between
two events grows with the logarithm of the time between them, so that each has room of its own; the
axis says when things were. `scale=LINEAR` draws it true instead.

`narrow` of `record` chooses nodes, kinds and a time range beforehand; on the page kinds can be
switched off, and time stretched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from math import log2

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.sim.diagram_page import escaped, page
from protocol.sim.record import (
    Delivered,
    Fault,
    FaultKind,
    Happened,
    Lost,
    MessageKind,
    Recording,
    RoleTaken,
    Sent,
    max_time,
)

DRAWN_MAX = 12_000  # messages and facts; a browser still scrolls that smoothly
HEIGHT_MAX = 40_000  # pixels, before anything is stretched
LABEL_MAX = 40  # characters of a fact that are written beside its mark

_TOP, _BOTTOM = 30, 40
_ROOM_MIN = 8  # characters: shorter labels say nothing
_AXIS = 92  # width of the axis, pixels
_TICK = 44  # the least distance between two times on the axis
_LINE = 12  # the height of a label
_LETTER = 6.7  # its width
_MARGIN = 120  # for labels beyond the last node
_SHADE = 80  # the width of a fault of one node: labels beside it stay clear of it
_BROKEN_AT = 0.62  # of the way: there a lost message ends
_BAND = {"leader": 18, "candidate": 10, "pre_candidate": 10}  # widths


class Scale(Enum):
    """How far apart two events are."""

    LOGARITHMIC = "logarithmic"
    LINEAR = "linear"


def to_html(recording: Recording, title: str = "Run", scale: Scale = Scale.LOGARITHMIC) -> str:
    """The page. Of more than `DRAWN_MAX` messages and facts only the first are drawn, and it says
    so."""
    drawing = _Drawing(recording, scale)
    return page(title, drawing.summary(), drawing.header(), drawing.svg(), drawing.kinds())


@dataclass(slots=True)
class _Journey:
    """A message and what became of it."""

    sent: Sent
    delivered: list[Nanoseconds] = field(default_factory=list)
    lost: Lost | None = None


class _Drawing:
    """What is where. x: nodes; y: time."""

    def __init__(self, recording: Recording, scale: Scale) -> None:
        self.recording = recording
        self.scale = scale
        self.end = max_time(recording)
        journeys, facts = _sorted_out(recording)
        self.count = len(journeys) + len(facts)
        self.journeys, self.facts = _first_of(journeys, facts, DRAWN_MAX)
        if self.count > DRAWN_MAX:
            drawn = [journey.sent.at_ns for journey in self.journeys]
            self.end = max([*drawn, *(fact.at_ns for fact in self.facts)])
        self.column = max(56, min(320, 1400 // max(1, len(recording.nodes))))
        self.x = {
            node: _AXIS + self.column // 2 + at * self.column
            for at, node in enumerate(recording.nodes)
        }
        self.width = _AXIS + len(recording.nodes) * self.column + _MARGIN
        self.y = _heights(self._times(), scale)
        self.height = max([_TOP, *self.y.values()]) + _BOTTOM

    def _times(self) -> list[Nanoseconds]:
        times = {event.at_ns for event in self.recording.events if event.at_ns <= self.end}
        for event in self.recording.events:
            if isinstance(event, Fault) and event.until_ns is not None:
                times.add(min(event.until_ns, self.end))
        times.add(self.end)
        return sorted(times)

    # -- what the page says in words ---------------------------------------------------------------

    def summary(self) -> str:
        lost = sum(journey.lost is not None for journey in self.journeys)
        first = self.recording.events[0].at_ns if self.recording.events else 0
        text = (
            f"{len(self.recording.nodes)} nodes, {len(self.journeys)} messages ({lost} lost), "
            f"{len(self.facts)} facts, {_clock(first)} to {_clock(self.end)}"
        )
        if self.scale is Scale.LOGARITHMIC:
            text += "; time is not to scale"
        if self.count > DRAWN_MAX:
            text += f"; only the first {DRAWN_MAX} of {self.count} are drawn: narrow the recording"
        return text

    def header(self) -> str:
        """The names, above their lines."""
        return "".join(
            f'<span style="left:{x}px;max-width:{self.column - 8}px">{escaped(node)}</span>'
            for node, x in self.x.items()
        )

    def kinds(self) -> dict[MessageKind, int]:
        """How many messages there are of each kind that occurs."""
        counts = dict.fromkeys(MessageKind, 0)
        for journey in self.journeys:
            counts[journey.sent.kind] += 1
        return {kind: count for kind, count in counts.items() if count}

    # -- the drawing -------------------------------------------------------------------------------

    def svg(self) -> str:
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" id="diagram" width="{self.width}" '
            f'height="{self.height:.0f}" data-top="{_TOP}" data-bottom="{_BOTTOM}">',
            _markers(self.kinds()),
            *self._axis(),
            *self._faults(),
            *self._lines(),
            *self._roles(),
        ]
        for kind in self.kinds():
            parts.append(f'<g class="messages k-{kind.value}">')
            parts += [
                line
                for journey in self.journeys
                if journey.sent.kind is kind
                for line in self._arrows(journey)
            ]
            parts.append("</g>")
        parts += [*self._marks(), "</svg>"]
        return "\n".join(parts)

    def _axis(self) -> Iterable[str]:
        yield '<g class="axis">'
        last = -float(_TICK)
        for time, y in self.y.items():
            if y - last >= _TICK:
                last = y
                yield f'<line class="grid" x1="{_AXIS - 6}" x2="{self.width}" {_ys(y, y)}/>'
                yield f'<text x="{_AXIS - 12}" y="{y + 4:.1f}">{_clock(time)}</text>'
        yield "</g>"

    def _lines(self) -> Iterable[str]:
        yield '<g class="nodes">'
        for x in self.x.values():
            yield f'<line x1="{x}" x2="{x}" {_ys(_TOP - 12, self.height - 12)}/>'
        yield "</g>"

    def _faults(self) -> Iterable[str]:
        yield '<g class="faults">'
        for event in self.recording.events:
            if not isinstance(event, Fault) or event.at_ns > self.end:
                continue
            until = self.end if event.until_ns is None else min(event.until_ns, self.end)
            left, width = _AXIS, self.width - _AXIS
            if event.node is not None:
                width = min(_SHADE, self.column - 12)
                left = self.x[event.node] - width // 2
            top = self.y[event.at_ns]
            height = max(3.0, self.y[until] - top)
            ended = "to the end" if event.until_ns is None else f"until {_clock(event.until_ns)}"
            where = event.node or "network"
            yield (
                f'<rect class="f-{event.kind.value}" x="{left}" y="{top:.1f}" width="{width}" '
                f'height="{height:.1f}">{_title(event.at_ns, where, event.text, ended)}</rect>'
            )
            yield (
                f'<text class="fault" x="{left + 6}" y="{top + 12:.1f}">'
                f"{escaped(_cut(event.text, int(width / _LETTER)))}</text>"
            )
        yield "</g>"

    def _roles(self) -> Iterable[str]:
        """Bands while a node has a role that is not everybody's."""
        yield '<g class="roles">'
        for taken, until in _terms_of_office(self.recording, self.end):
            if taken.role not in _BAND:
                continue
            width, x = _BAND[taken.role], self.x[taken.node]
            top, bottom = self.y[taken.at_ns], self.y[until]
            what = f"{taken.role} of term {taken.term}"
            yield (
                f'<rect class="r-{taken.role}" x="{x - width / 2}" y="{top:.1f}" '
                f'width="{width}" height="{max(3.0, bottom - top):.1f}" rx="4">'
                f"{_title(taken.at_ns, taken.node, what, f'until {_clock(until)}')}</rect>"
            )
            if taken.role == "leader":
                yield (
                    f'<text class="term" x="{x - width / 2 - 5}" y="{top + 10:.1f}">'
                    f"term {taken.term}</text>"
                )
        yield "</g>"

    def _arrows(self, journey: _Journey) -> Iterable[str]:
        sent = journey.sent
        x1, x2 = self.x[sent.sender], self.x[sent.receiver]
        what = f"{sent.sender} to {sent.receiver}: {sent.kind.value} {sent.detail}"
        for time in journey.delivered:
            if time <= self.end:
                title = _title(sent.at_ns, what, f"came at {_clock(time)}")
                yield self._arrow(
                    sent, x1, x2, time, f'marker-end="url(#m-{sent.kind.value})"', title
                )
        if journey.lost is not None:
            middle = x1 + (x2 - x1) * _BROKEN_AT
            title = _title(sent.at_ns, what, f"lost: {journey.lost.reason}")
            time = min(journey.lost.at_ns, self.end)
            extra = f'class="lost" marker-end="url(#x-{sent.kind.value})"'
            yield self._arrow(sent, x1, middle, time, extra, title)
        elif not journey.delivered:
            middle = x1 + (x2 - x1) * _BROKEN_AT
            title = _title(sent.at_ns, what, "had not come at the end")
            yield self._arrow(sent, x1, middle, self.end, 'class="open"', title, 24)

    def _arrow(
        self,
        sent: Sent,
        x1: float,
        x2: float,
        time: Nanoseconds,
        extra: str,
        title: str,
        drop_max: float = 1e9,
    ) -> str:
        """Arrows end at the edge of the line that they lead to, so that its marks stay legible."""
        y1 = self.y[sent.at_ns]
        y2 = min(self.y[time], y1 + drop_max)
        edge = 3 if x2 > x1 else -3
        return f'<line x1="{x1}" x2="{x2 - edge:.0f}" {_ys(y1, y2)} {extra}>{title}</line>'

    def _marks(self) -> Iterable[str]:
        """Facts; those that have no room for their text keep the mark."""
        yield '<g class="facts">'
        below: dict[str, float] = {}
        room = min(LABEL_MAX, int((self.column - 24) / _LETTER))
        for (node, at), texts in self._facts_together().items():
            x, y = self.x[node], self.y[at]
            worst = next((text for text in texts if text.startswith("!")), texts[0])
            tone = _TONES.get(worst[:1], "other")
            title = _title(at, node, *texts)
            yield f'<circle class="t-{tone}" cx="{x}" cy="{y:.1f}" r="4">{title}</circle>'
            if room >= _ROOM_MIN:
                is_covered = y < below.get(node, 0.0)
                if not is_covered:
                    below[node] = y + _LINE
                more = f" +{len(texts) - 1}" if len(texts) > 1 else ""
                label = _cut(worst[1:].strip() or worst, room - len(more)) + more
                hidden = ' class="hidden"' if is_covered else ""
                yield (
                    f'<text x="{x + 14}" y="{y + 4:.1f}" data-node="{x}"{hidden}>'
                    f"{escaped(label)}</text>"
                )
        yield "</g>"

    def _facts_together(self) -> dict[tuple[str, Nanoseconds], list[str]]:
        """What happened at one node at one time has one mark."""
        found: dict[tuple[str, Nanoseconds], list[str]] = {}
        for fact in self.facts:
            found.setdefault((fact.node, fact.at_ns), []).append(fact.text)
        return found


_TONES = {"=": "role", "~": "member", "*": "task", "+": "store", "!": "error", "#": "host"}


def _sorted_out(recording: Recording) -> tuple[list[_Journey], list[Happened]]:
    journeys: dict[int, _Journey] = {}
    facts = []
    for event in recording.events:
        match event:
            case Sent():
                journeys[event.number] = _Journey(event)
            case Delivered():
                journeys[event.number].delivered.append(event.at_ns)
            case Lost():
                journeys[event.number].lost = event
            case Happened():
                facts.append(event)
            case RoleTaken() | Fault():
                pass
    return list(journeys.values()), facts


def _first_of(
    journeys: list[_Journey], facts: list[Happened], count: int
) -> tuple[list[_Journey], list[Happened]]:
    """The first of both together."""
    if len(journeys) + len(facts) <= count:
        return journeys, facts
    times = sorted([journey.sent.at_ns for journey in journeys] + [fact.at_ns for fact in facts])
    until = times[count - 1]
    journeys = [journey for journey in journeys if journey.sent.at_ns <= until][:count]
    return journeys, [fact for fact in facts if fact.at_ns <= until][: count - len(journeys)]


def _terms_of_office(
    recording: Recording, end: Nanoseconds
) -> Iterable[tuple[RoleTaken, Nanoseconds]]:
    """Each role with its end: the node's next one, or its crash."""
    current: dict[str, RoleTaken] = {}
    for event in recording.events:
        if event.at_ns > end:
            break
        is_crash = isinstance(event, Fault) and event.kind is FaultKind.CRASH
        if not isinstance(event, RoleTaken) and not is_crash:
            continue
        assert isinstance(event, RoleTaken | Fault)
        if event.node in current:
            yield current.pop(event.node), event.at_ns
        if isinstance(event, RoleTaken):
            current[event.node] = event
    for taken in current.values():
        yield taken, end


def _heights(times: list[Nanoseconds], scale: Scale) -> dict[Nanoseconds, float]:
    """Where each time is. Equal times are at one height, later ones always further down."""
    if not times:
        return {}
    steps = [later - time for time, later in pairwise(times)]
    if scale is Scale.LOGARITHMIC:
        heights = [4 + min(40.0, 3.5 * log2(1 + step / (MILLISECOND / 10))) for step in steps]
    else:
        heights = [step / MILLISECOND for step in steps]
    factor = min(1.0, HEIGHT_MAX / (sum(heights) or 1))
    y = float(_TOP)
    found = {times[0]: y}
    for time, height in zip(times[1:], heights, strict=True):
        y += height * factor
        found[time] = y
    return found


def _ys(y1: float, y2: float) -> str:
    return f'y1="{y1:.1f}" y2="{y2:.1f}"'


def _title(at: Nanoseconds, *parts: str) -> str:
    return (
        f"<title>{escaped(f'{_clock(at)}  ' + '; '.join(part for part in parts if part))}</title>"
    )


def _clock(time: Nanoseconds) -> str:
    return f"{time / SECOND:.4f} s"


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"


def _markers(kinds: Iterable[MessageKind]) -> str:
    """An arrow's head and a cross, in each kind's colour."""
    heads = []
    for kind in kinds:
        name = kind.value
        heads.append(
            f'<marker id="m-{name}" class="k-{name}" viewBox="0 0 8 8" refX="7.5" refY="4" '
            'markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
            '<path class="head" d="M0,0.8 L8,4 L0,7.2 z"/></marker>'
            f'<marker id="x-{name}" class="k-{name}" viewBox="0 0 8 8" refX="4" refY="4" '
            'markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="0">'
            '<path class="cross" d="M1,1 L7,7 M7,1 L1,7"/></marker>'
        )
    return f"<defs>{''.join(heads)}</defs>"
