"""Recordings as diagrams and as ShiViz logs."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.clocks import MILLISECOND, Order
from protocol.messages.agreement import Agreement, Append, ReadReply, SnapshotReply, VoteReply
from protocol.messages.membership import ProbeNack
from protocol.messages.sharing import Delta
from protocol.sim import diagram, record
from protocol.sim.diagram import Scale, to_html
from protocol.sim.record import (
    Delivered,
    Fault,
    FaultKind,
    Happened,
    Lost,
    MessageKind,
    Recorded,
    Recording,
    RoleTaken,
    Sent,
    kind_of,
    narrow,
)
from protocol.sim.shiviz import EXPRESSION, clocked, to_shiviz

VOTE, APPEND = MessageKind.VOTE, MessageKind.APPEND

# An election, a loss, a crash and a cut.
STORY = Recording(
    ("n1", "n2", "n3"),
    (
        RoleTaken(0, "n1", "candidate", 2),
        Sent(0, 1, "n1", "n2", VOTE, "VoteRequest term=2"),
        Sent(0, 2, "n1", "n3", VOTE, "VoteRequest term=2"),
        Lost(900_000, 2, "cut"),
        Delivered(1_000_000, 1),
        Happened(1_000_000, "n2", "= VoteGranted term=2 candidate=n1"),
        Sent(1_500_000, 3, "n2", "n1", VOTE, "VoteReply granted"),
        Delivered(2_500_000, 3),
        RoleTaken(2_500_000, "n1", "leader", 2),
        Sent(2_500_000, 4, "n1", "n2", APPEND, "Append 2/2"),
        Fault(3_000_000, None, FaultKind.CUT, "n3 is cut off", 9_000_000),
        Fault(4_000_000, "n1", FaultKind.CRASH, "crash", None),
        Happened(5_000_000, "n3", '! something <odd> & "quoted"'),
    ),
)


def svg_of(html: str) -> ElementTree.Element:
    """The drawing in a page that is also well-formed XML."""
    root = ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))
    found = root.find(".//{http://www.w3.org/2000/svg}svg")
    assert found is not None
    return found


def elements(html: str, tag: str, of: str = "") -> list[ElementTree.Element]:
    """Those of the drawing with this tag, inside groups of this class."""
    groups = [
        each
        for each in svg_of(html).iter("{http://www.w3.org/2000/svg}g")
        if not of or of in each.get("class", "").split()
    ]
    return [each for group in groups for each in group.iter("{http://www.w3.org/2000/svg}" + tag)]


# -- recordings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "events",
    [
        (Happened(2, "a", "= x"), Happened(1, "a", "= y")),
        (Delivered(1, 7),),
        (Sent(1, 1, "a", "b", VOTE, ""), Sent(2, 1, "a", "b", VOTE, "")),
        (Happened(1, "stranger", "= x"),),
        (Sent(1, 1, "a", "stranger", VOTE, ""),),
    ],
)
def test_a_recording_that_cannot_have_happened_is_refused(events: tuple[Recorded, ...]) -> None:
    with pytest.raises(AssertionError):
        Recording(("a", "b"), events)


def test_a_recording_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "EVENTS_MAX", 2)
    events = tuple(Happened(at, "a", "= x") for at in range(3))
    with pytest.raises(AssertionError, match="bounded"):
        Recording(("a",), events)


def test_a_part_of_a_recording_has_what_concerns_its_nodes() -> None:
    part = narrow(STORY, nodes={"n1", "n2"})
    assert part.nodes == ("n1", "n2")
    assert {event.number for event in part.events if isinstance(event, Sent)} == {1, 3, 4}
    assert not any(isinstance(event, Lost) for event in part.events)


def test_a_part_of_a_recording_has_the_kinds_asked_for_and_all_facts() -> None:
    part = narrow(STORY, kinds={APPEND})
    assert [event.number for event in part.events if isinstance(event, Sent)] == [4]
    assert sum(isinstance(event, Happened) for event in part.events) == 2


def test_a_part_of_a_recording_begins_with_the_roles_and_faults_that_last() -> None:
    late = narrow(STORY, begin_ns=3_500_000, end_ns=3_900_000)
    assert late.events == (
        Fault(3_500_000, None, FaultKind.CUT, "n3 is cut off", 9_000_000),
        RoleTaken(3_500_000, "n1", "leader", 2),
    )
    later = narrow(STORY, begin_ns=4_500_000)
    assert not any(isinstance(event, RoleTaken) for event in later.events), "it crashed"


def test_messages_of_the_protocol_have_their_kind() -> None:
    entry_free = Append(1, 1, 0, 0, (), 0)
    assert kind_of(Agreement(b"", VoteReply(1, 1, True, False))) is MessageKind.VOTE
    assert kind_of(Agreement(b"", entry_free)) is MessageKind.APPEND
    assert kind_of(Agreement(b"", SnapshotReply(1, 1, 1, 1, 1))) is MessageKind.SNAPSHOT
    assert kind_of(Agreement(b"", ReadReply(1, 1))) is MessageKind.OTHER
    assert kind_of(Delta((), (), False)) is MessageKind.GOSSIP
    assert kind_of(ProbeNack(1)) is MessageKind.MEMBERSHIP


# -- the diagram -----------------------------------------------------------------------------------


def test_a_page_is_well_formed_and_loads_nothing() -> None:
    html = to_html(STORY, "Story")
    assert svg_of(html).get("height")
    HTMLParser().feed(html)
    addresses = set(re.findall(r"https?://[^\"' ]+", html))
    assert addresses == {"http://www.w3.org/2000/svg"}, "the name of the format, and no other"
    assert not re.search(r"<(link|img|iframe)|\bsrc=|@import|url\((?!#)", html)


def test_each_message_is_an_arrow_that_goes_down_from_its_sender_to_its_receiver() -> None:
    html = to_html(STORY)
    lines = elements(html, "line", "k-votes")
    assert len(lines) == 3
    request, lost, reply = lines
    assert float(request.get("x1", "")) < float(request.get("x2", "")) < float(lost.get("x2", ""))
    assert float(reply.get("x1", "")) > float(reply.get("x2", ""))
    assert all(float(line.get("y1", "")) < float(line.get("y2", "")) for line in lines)
    assert request.get("marker-end") == reply.get("marker-end") == "url(#m-votes)"


def test_what_was_lost_ends_on_the_way_in_a_cross() -> None:
    lost = [line for line in elements(to_html(STORY), "line") if line.get("class") == "lost"]
    assert [line.get("marker-end") for line in lost] == ["url(#x-votes)"]
    title = lost[0][0].text or ""
    assert "n1 to n3: votes VoteRequest term=2; lost: cut" in title


def test_what_has_not_come_by_the_end_has_no_head() -> None:
    (open_,) = elements(to_html(STORY), "line", "k-appends")
    assert (open_.get("class"), open_.get("marker-end")) == ("open", None)


def test_a_repeated_message_has_two_arrows() -> None:
    events = (Sent(0, 1, "a", "b", VOTE, ""), Delivered(5, 1), Delivered(9, 1))
    assert len(elements(to_html(Recording(("a", "b"), events)), "line", "k-votes")) == 2


def test_a_leader_has_a_band_until_it_crashes() -> None:
    bands = elements(to_html(STORY), "rect", "roles")
    assert [band.get("class") for band in bands] == ["r-candidate", "r-leader"]
    assert "leader of term 2; until 0.0040 s" in (bands[1][0].text or "")


def test_faults_shade_their_node_or_the_whole_network_until_they_end() -> None:
    cut, crash = elements(to_html(STORY), "rect", "faults")
    assert (cut.get("class"), crash.get("class")) == ("f-cut", "f-crash")
    assert float(cut.get("width", "")) > 2 * float(crash.get("width", ""))
    assert "network; n3 is cut off; until 0.0090 s" in (cut[0].text or "")
    assert "to the end" in (crash[0].text or "")


def test_everything_that_is_said_is_escaped() -> None:
    nasty = '</svg><script>alert("x")</script>&\'"]]>'
    story = Recording(
        (nasty, "b"),
        (
            Sent(0, 1, nasty, "b", VOTE, nasty),
            Lost(1, 1, nasty),
            Happened(2, nasty, nasty),
            RoleTaken(3, nasty, nasty, 1),
            Fault(4, nasty, FaultKind.OTHER, nasty, None),
        ),
    )
    html = to_html(story, nasty)
    assert "alert(" in html
    assert html.count("<script>") == 1
    assert nasty in "".join(svg_of(html).itertext())


def test_what_no_page_may_contain_is_shown_as_unknown() -> None:
    html = to_html(Recording(("a\x00",), (Happened(1, "a\x00", "= bell \x07 \ud800"),)))
    assert "bell \ufffd \ufffd" in "".join(svg_of(html).itertext())
    html.encode()


def test_facts_of_one_moment_share_a_mark() -> None:
    events = (Happened(1, "a", "= one"), Happened(1, "a", "! two"), Happened(1, "b", "= three"))
    html = to_html(Recording(("a", "b"), events))
    marks = elements(html, "circle", "facts")
    assert [(mark.get("class"), mark[0].text) for mark in marks] == [
        ("t-error", "0.0000 s  a; = one; ! two"),
        ("t-role", "0.0000 s  b; = three"),
    ]
    assert [text.text for text in elements(html, "text", "facts")] == ["two +1", "three"]


def test_labels_give_way_where_there_is_no_room() -> None:
    events = tuple(Happened(at, "a", f"= fact {at}") for at in range(40))
    labels = elements(to_html(Recording(("a",), events)), "text", "facts")
    shown = [float(each.get("y", "")) for each in labels if each.get("class") != "hidden"]
    assert 1 < len(shown) < len(labels) == 40
    assert all(later - y >= 12 for y, later in pairwise(shown))


def test_a_drawing_is_bounded_and_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagram, "DRAWN_MAX", 10)
    events = tuple(Happened(at, "a", "= x") for at in range(25))
    html = to_html(Recording(("a",), events))
    assert len(elements(html, "circle", "facts")) == 10
    assert "only the first 10 of 25 are drawn" in html


def test_a_long_run_is_no_higher_than_a_page_may_be() -> None:
    events = tuple(Happened(at * MILLISECOND, "a", "= x") for at in range(11_000))
    height = float(svg_of(to_html(Recording(("a",), events))).get("height", ""))
    assert height <= diagram.HEIGHT_MAX + 100


@pytest.mark.parametrize("scale", Scale)
def test_later_is_further_down(scale: Scale) -> None:
    events = tuple(Happened(at * at * MILLISECOND, "a", "= x") for at in range(30))
    marks = elements(to_html(Recording(("a",), events), scale=scale), "circle", "facts")
    heights = [float(mark.get("cy", "")) for mark in marks]
    assert heights == sorted(set(heights))


def test_an_empty_recording_is_an_empty_page() -> None:
    html = to_html(Recording(("a",), ()))
    assert "1 nodes, 0 messages (0 lost), 0 facts" in html
    assert not elements(html, "circle")


# -- ShiViz ----------------------------------------------------------------------------------------


def test_a_log_for_shiviz_is_a_clock_and_a_text_for_each_event() -> None:
    assert to_shiviz(narrow(STORY, nodes={"n1", "n2"}, end_ns=2_500_000)) == (
        'n1 {"n1": 1}\n'
        "0.000000 = candidate of term 2\n"
        'n1 {"n1": 2}\n'
        "0.000000 > n2 votes VoteRequest term=2\n"
        'n2 {"n1": 2, "n2": 1}\n'
        "0.001000 < n1 votes VoteRequest term=2\n"
        'n2 {"n1": 2, "n2": 2}\n'
        "0.001000 = VoteGranted term=2 candidate=n1\n"
        'n2 {"n1": 2, "n2": 3}\n'
        "0.001500 > n1 votes VoteReply granted\n"
        'n1 {"n1": 3, "n2": 3}\n'
        "0.002500 < n2 votes VoteReply granted\n"
        'n1 {"n1": 4, "n2": 3}\n'
        "0.002500 = leader of term 2\n"
        'n1 {"n1": 5, "n2": 3}\n'
        "0.002500 > n2 appends Append 2/2\n"
    )


def test_the_expression_parses_the_log_whatever_is_said() -> None:
    story = Recording(
        ("a b", "a_b", "{c}"),
        (
            Sent(0, 1, "a b", "a_b", VOTE, "two\nlines {}"),
            Delivered(1, 1),
            Happened(2, "{c}", '= x\r\ny {"z": 1}'),
        ),
    )
    expression = EXPRESSION.replace("(?<", "(?P<")  # Python's spelling
    parsed = [
        (match["host"], json.loads(match["clock"]), match["event"])
        for match in re.finditer(expression, to_shiviz(story))
    ]
    assert [(host, clock) for host, clock, _ in parsed] == [
        ("a_b", {"a_b": 1}),
        ("a_b_1", {"a_b": 1, "a_b_1": 1}),
        ("{c}", {"{c}": 1}),
    ]
    assert parsed[2][2] == '0.000000 = x y {"z": 1}'


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    """Any run of three nodes: sends, receipts (also repeated and overtaking), losses, facts."""
    names = ("a", "b", "c")
    events: list[Recorded] = []
    for at in range(draw(st.integers(0, 30))):
        sent = [event.number for event in events if isinstance(event, Sent)]
        what = draw(st.sampled_from(["send", "deliver", "lose", "fact"]))
        if what == "send":
            sender, receiver = draw(st.permutations(names))[:2]
            events.append(Sent(at, at, sender, receiver, VOTE, "m"))
        elif what == "fact":
            events.append(Happened(at, draw(st.sampled_from(names)), "= f"))
        elif sent and what == "deliver":
            events.append(Delivered(at, draw(st.sampled_from(sent))))
        elif sent:
            events.append(Lost(at, draw(st.sampled_from(sent)), "noise"))
    return Recording(names, tuple(events))


@given(recordings())
def test_clocks_grow_by_one_at_their_node_and_a_receipt_comes_after_its_sending(
    recording: Recording,
) -> None:
    events = [event for event in recording.events if not isinstance(event, Lost)]
    clocks = list(clocked(recording))
    assert len(clocks) == len(events)
    last = dict.fromkeys(recording.nodes, 0)
    sent = {}
    for event, (node, clock, _) in zip(events, clocks, strict=True):
        assert clock[node] == last[node] + 1
        last[node] = clock[node]
        if isinstance(event, Sent):
            sent[event.number] = clock
        if isinstance(event, Delivered):
            assert sent[event.number].compare(clock) is Order.BEFORE


@given(recordings())
def test_any_recording_can_be_drawn(recording: Recording) -> None:
    html = to_html(recording)
    delivered = sum(isinstance(event, Delivered) for event in recording.events)
    assert len(elements(html, "line", "messages")) >= delivered
