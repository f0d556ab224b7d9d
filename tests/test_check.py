"""History files, read and written, and `quorate check` as a user meets it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from command_line import quorate_here
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded
from register_histories import Load, linearizable_history, op
from test_linearizable import unknown_writes

from node.lab import edn, histories
from node.lab.edn import EdnError, Word
from node.lab.histories import HistoryError, parse
from protocol.sim.linearizable import Kind, Operation, Outcome

JEPSEN = """
{:type :invoke, :f :write, :value [:a 3], :process 0, :time 10, :index 0}
{:type :info, :f :start, :value nil, :process :nemesis, :time 11, :index 1}
{:type :invoke, :f :read, :value [:a nil], :process 1, :time 12, :index 2}
{:type :ok, :f :write, :value [:a 3], :process 0, :time 20, :index 3}
{:type :ok, :f :read, :value [:a 3], :process 1, :time 21, :index 4}
{:type :invoke, :f :cas, :value [:a [3 4]], :process 0, :time 30, :index 5}
{:type :info, :f :start, :value {"n1" #{:cut "n2"}}, :process :nemesis, :time 31, :index 6}
{:type :info, :f :cas, :value [:a [3 4]], :process 0, :time 40, :index 7, :error [:timeout "x\\"y"]}
{:type :invoke, :f :cas, :value [:a [9 4]], :process 2, :time 41, :index 8}
{:type :fail, :f :cas, :value [:a [9 4]], :process 2, :time 42, :index 9}
{:type :invoke, :f :read, :value [:a nil], :process 1, :time 50, :index 10}
{:type :fail, :f :read, :value [:a nil], :process 1, :time 51, :index 11}
{:type :invoke, :f :delete, :value [:a nil], :process 1, :time 60, :index 12}
"""
A = Word(":a")
READ_OF_JEPSEN = [
    op("write", 10, 20, 3, key=A),
    op("read", 12, 21, 3, key=A, process=1),
    op("cas", 30, None, 3, 4, key=A),
    Operation(2, Kind.CAS, A, (9, 4), None, 41, 42, Outcome.FAILED),
    Operation(1, Kind.READ, A, None, None, 50, 51, Outcome.FAILED),
    op("delete", 60, None, key=A, process=1),
]


def entry(step: str, f: str, value: Any, process: int | str = 0, **more: Any) -> str:
    return json.dumps({"type": step, "f": f, "value": value, "process": process, **more})


# -- reading -------------------------------------------------------------------------------------


def test_a_history_of_jepsen_is_read() -> None:
    assert parse(JEPSEN, "it") == READ_OF_JEPSEN


def test_a_history_may_be_one_vector_with_tags_and_comments() -> None:
    tagged = JEPSEN.replace("{:type", "#jepsen.history.Op{:type")
    assert parse(f"; a history\n[{tagged}]\n", "it") == READ_OF_JEPSEN
    assert parse(f"({JEPSEN})", "it") == READ_OF_JEPSEN


def test_json_lines_say_the_same() -> None:
    text = "\n".join(
        [
            entry("invoke", "write", [":a", 3], time=10),
            entry("info", "start", {"n1": "cut"}, "nemesis", time=11),
            "",
            entry("invoke", "read", [":a", None], 1, time=12),
            entry("ok", "write", [":a", 3], time=20),
            entry("ok", "read", [":a", 3], 1, time=21),
        ]
    )
    assert parse(text, "it") == READ_OF_JEPSEN[:2]


def test_one_register_needs_no_key() -> None:
    text = """
    {:type :invoke, :f :read, :process 0, :time 1}
    {:type :ok, :f :read, :process 0, :value nil, :time 2}
    {:type :invoke, :f :cas, :process 0, :value [nil [1 2]], :time 3}
    {:type :ok, :f :cas, :process 0, :value [nil [1 2]], :time 4}
    {:type :invoke, :f :write, :process 0, :value [3 4], :time 5}
    {:type :ok, :f :write, :process 0, :time 6}
    """
    assert parse(text, "it") == [
        op("read", 1, 2, None, key=None),
        op("cas", 3, 4, None, (1, 2), key=None),
        op("write", 5, 6, (3, 4), key=None),
    ]


def test_a_cas_may_tell_that_it_found_another_value() -> None:
    begin = "{:type :invoke, :f :cas, :value [1 2], :process 0}"
    for result, more in ((True, ""), (True, ":result true"), (False, ":result false")):
        text = f"{begin} {{:type :ok, :f :cas, :value [1 2], :process 0, {more}}}"
        (each,) = parse(text, "it")
        assert each.result is result


def test_the_order_of_the_entries_counts() -> None:
    """Whatever the times say: they may be missing, equal, or go back."""
    for given_times in ((None,) * 6, (5,) * 6, (9, 8, 7, 6, 5, 4), (1, 2, None, None, 3, None)):
        steps = [
            entry("invoke", "write", ["x", 1], 0),
            entry("invoke", "write", ["x", 2], 1),
            entry("ok", "write", ["x", 1], 0),
            entry("invoke", "read", ["x", None], 0),
            entry("ok", "write", ["x", 2], 1),
            entry("ok", "read", ["x", 2], 0),
        ]
        text = "\n".join(
            json.dumps({**json.loads(step), "time": at})
            for step, at in zip(steps, given_times, strict=True)
        )
        one, other, read = parse(text, "it")
        assert one.returned_ns is not None
        assert other.returned_ns is not None
        assert one.returned_ns < read.called_ns <= other.returned_ns
        assert other.called_ns <= one.returned_ns, "they are concurrent"


def test_a_process_goes_on_after_an_unknown_call() -> None:
    text = "\n".join(
        [
            entry("invoke", "write", ["x", 1]),
            entry("info", "write", None),
            entry("invoke", "write", ["x", 2]),
        ]
    )
    assert [each.outcome for each in parse(text, "it")] == [Outcome.UNKNOWN] * 2


FAULTS = [
    ("", "it holds no operation of a client: write {:type :invoke"),
    ("{:process :nemesis}", "it holds no operation of a client"),
    ("hello world", "it, line 1: hello is no operation: write {:type :invoke"),
    ("[1 2]", "it, line 1: 1 is no operation"),
    ('{"type": "invoke",\n', "it, line 1: not JSON"),
    ('\n{"type": 1}\n{"a": }', "it, line 2: process None is no number"),
    ('{"a": 1, "a": 2}', "it, line 1: not JSON that is read here: a map has a key twice"),
    ('{"a": ' + "9" * 5_000 + "}", "it, line 1: not JSON that is read here"),
    ('{"a": ' + "[" * 200_000, "it, line 1: "),
    ('[{"type": "invoke"}]', "it, line 1: this is one JSON array: write one map per line"),
    ("{:type :invoke, :f :read, :process :a}", "process :a is no number"),
    ("{:type :invoke, :f :read, :process true}", "process True is no number"),
    ("{:type :begin, :f :read, :process 0}", "type is :begin: it must be invoke, ok, fail or"),
    ("{:type :invoke, :f :txn, :process 0}", "f is :txn: only read, write, cas and delete"),
    ("{:type :invoke, :f [1], :process 0}", "f is (1,): only read"),
    ("{:type :invoke, :f :read, :process 0, :time 1.5}", "time is 1.5: it must be in whole"),
    ("{:type :invoke, :f :write, :value {1 2}, :process 0}", "the value {1: 2} is no text"),
    ("{:type :invoke, :f :write, :value #{1}, :process 0}", "is no text, number, boolean"),
    (entry("invoke", "write", float("inf")), "the value inf is no text, number"),
    (entry("invoke", "write", 1).replace("1", "[" * 60 + "]" * 60), "nested over 40 levels deep"),
    ("{:type :ok, :f :read, :process 0}", "process 0 ends what it has not begun"),
    ("{:type :invoke, :f :cas, :value 5, :process 0}", "cas has 5: it must be [expected, new]"),
    ("{:type :invoke, :f :read, :value 5, :process 0}", "read has 5: write null"),
    ("{:type :invoke, :f :delete, :value 5, :process 0}", "delete has 5: write null"),
    (
        "{:type :invoke, :f :read, :value [1 nil], :process 0}\n"
        "{:type :invoke, :f :read, :process 1}",
        "it, line 2: it names no key, but line 1 does: write [key, value] in all, or in none",
    ),
    (
        "{:type :invoke, :f :read, :process 0}\n{:type :invoke, :f :read, :process 0}",
        "it, line 2: process 0 calls before its call of line 1 ended",
    ),
    (
        "{:type :invoke, :f :read, :process 0}\n{:type :ok, :f :write, :process 0}",
        "it, line 2: it ends a write, but line 1 began a read",
    ),
    (
        "{:type :invoke, :f :write, :value 1, :process 0}\n"
        "{:type :ok, :f :write, :value 2, :process 0}",
        "it, line 2: it ends with 2, but line 1 began with 1",
    ),
    (
        "{:type :invoke, :f :read, :value [1 nil], :process 0}\n"
        "{:type :ok, :f :read, :value [2 nil], :process 0}",
        "it, line 2: it does not name the key of line 1, 1: write [key, value]",
    ),
    (
        "{:type :invoke, :f :read, :value [1 nil], :process 0}\n"
        "{:type :ok, :f :read, :value 1, :process 0}",
        "it, line 2: it does not name the key of line 1, 1",
    ),
    (
        "{:type :invoke, :f :cas, :value [1 2], :process 0}\n"
        "{:type :ok, :f :cas, :value [1 2], :process 0, :result 1}",
        "it, line 2: result is 1: it must be true or false",
    ),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_what_is_no_history_is_refused_in_one_line(text: str, fault: str) -> None:
    with pytest.raises(HistoryError) as refused:
        parse(text, "it")
    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@bounded
@given(st.one_of(st.text(), st.text('{}[]()#:"\\; 1.nil\n,').map(lambda text: "{:a " + text)))
def test_any_text_is_a_history_or_a_fault(text: str) -> None:
    with suppress(HistoryError):
        assert parse(text, "it")


def test_a_history_has_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history"
    path.write_text(JEPSEN)
    monkeypatch.setattr(histories, "OPERATIONS_MAX", 5)
    with pytest.raises(HistoryError, match="line 14: over 5 operations: check a part"):
        histories.read(path)
    monkeypatch.setattr(histories, "SIZE_MAX", 100)
    with pytest.raises(HistoryError, match="is over 100 bytes: check a part of the history"):
        histories.read(path)


# -- EDN -----------------------------------------------------------------------------------------


def test_edn_is_read_as_data() -> None:
    text = '[nil true -7 3N 1.5e3 2.5M :a/b c \\a "t\\u00e4\\n\\"" () [1 [2]] {:k {}} #inst "x"]'
    found = [value for _, value in edn.elements(text)]
    words = [Word(":a/b"), Word("c"), Word("\\a")]
    assert found == [
        *[None, True, -7, 3, 1500.0, 2.5, *words],
        *['tä\n"', (), (1, (2,)), {Word(":k"): {}}, "x"],
    ]
    assert [type(value) for value in found[6:9]] == [Word] * 3
    assert repr(found[6]) == ":a/b"


def test_edn_tells_lines() -> None:
    assert list(edn.elements('1\n\n"a\nb" ; c\n [\n3]')) == [(1, 1), (3, "a\nb"), (5, (3,))]


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("1\n(2", 2, "the text ends before ')'"),
        ("[1\n2", 2, "the text ends before ']'"),
        ("[1]\n2", 2, "'2' comes after the end"),
        ("1\n]", 2, "']' closes nothing"),
        ("{1\n]", 2, "']' closes nothing"),
        ("{1}", 1, "a map has a key without a value"),
        ("{1 2 1 3}", 1, "a map has a key twice"),
        ("{{} 2}", 1, "a map or a set is a key"),
        ('1 "abc', 1, "a text in quotes does not end"),
        ('"a\\q"', 1, "the text has an escape that EDN does not know"),
        ("##NaN", 1, "'##NaN' is nothing that Jepsen writes"),
        ("1/2", 1, "'1/2' is nothing"),
        ("1e999", 1, "'1e999' is nothing"),
        ("#_ 3", 1, "'#_' is nothing"),
        ("^a", 1, "'^a' is nothing"),
        ("1" * 5_000, 1, "is over 1000 characters long"),
        ("{:a " * 50, 1, "it is nested over 40 levels deep"),
    ],
)
def test_edn_that_is_not_read_is_refused_with_its_line(text: str, line: int, fault: str) -> None:
    with pytest.raises(EdnError) as refused:
        list(edn.elements(text))
    assert fault in str(refused.value)
    assert refused.value.line == line


# -- writing -------------------------------------------------------------------------------------

plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@st.composite
def recorded(draw: st.DrawFn) -> list[Operation]:
    """What a recorder writes: each process calls after it was answered."""
    history = []
    names = st.one_of(st.integers(), st.text().filter(lambda name: "nemesis" not in name))
    for process in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        at = 0
        for _ in range(draw(st.integers(1, 4))):
            begin = at + draw(st.integers(1, 3))
            at = begin + draw(st.integers(0, 3))
            kind, outcome = draw(st.sampled_from(Kind)), draw(st.sampled_from(Outcome))
            argument = draw(plain) if kind is Kind.WRITE else None
            argument = (draw(plain), draw(plain)) if kind is Kind.CAS else argument
            told = {Kind.READ: plain, Kind.CAS: st.booleans()}.get(kind, st.none())
            result = draw(told) if outcome is Outcome.OK else None
            end = None if outcome is Outcome.UNKNOWN else at
            key = draw(plain)
            history.append(Operation(process, kind, key, argument, result, begin, end, outcome))
    return history


@bounded
@given(recorded())
def test_what_is_written_is_read_again(history: list[Operation]) -> None:
    text = "\n".join(histories.lines(history))
    assert parse(text, "it") == sorted(history, key=lambda each: each.called_ns)


def test_a_file_is_written_and_read_again(tmp_path: Path) -> None:
    history = linearizable_history(Random(1), Load(operations=200, keys=3))
    histories.write(tmp_path / "history.jsonl", history)
    assert histories.read(tmp_path / "history.jsonl") == history


def test_a_process_that_calls_twice_at_once_is_a_bug_of_the_recorder() -> None:
    with pytest.raises(AssertionError, match="called before its last answer"):
        list(histories.lines([op("write", 1, 5, 1), op("write", 5, 6, 1)]))


# -- the verb ------------------------------------------------------------------------------------


def test_a_linearizable_history_is_true_with_exit_code_0(tmp_path: Path) -> None:
    (tmp_path / "history.edn").write_text(JEPSEN)
    done = quorate_here("check", "history.edn", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("true: 6 operations (2 failed, 2 unknown) on 1 key, ")
    assert done.stdout.count("\n") == 1


STALE = [op("write", 1, 2, "a"), op("write", 3, 4, "b"), op("read", 5, 6, "a", process=1)]


def test_a_history_that_is_not_is_false_with_exit_code_1_and_tells_why(tmp_path: Path) -> None:
    histories.write(tmp_path / "history.jsonl", STALE)
    done = quorate_here("check", "history.jsonl", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("false: 3 operations (0 failed, 0 unknown) on 1 key, ")
    assert said[1:] == [
        "key 'x': no order of its 3 operations goes further than",
        "  process 0 wrote 'a', 1 to 2 ns",
        "  process 0 wrote 'b', 3 to 4 ns",
        "which leaves 'b', and this can no longer follow:",
        "  process 1 read 'a', 5 to 6 ns",
        "enough to see it, by the time of the call:",
        "  process 0 wrote 'a', 1 to 2 ns",
        "  process 0 wrote 'b', 3 to 4 ns",
        "  process 1 read 'a', 5 to 6 ns",
    ]


def test_the_report_as_json(tmp_path: Path) -> None:
    histories.write(tmp_path / "history.jsonl", [replace(each, key=(1, "k")) for each in STALE])
    done = quorate_here("check", "history.jsonl", "--json", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "false"
    assert (report["operations"], report["keys"], report["undecided"]) == (3, 1, [])
    example = report["counter_example"]
    assert (example["key"], example["value"]) == ([1, "k"], "b")
    assert example["stuck"] == [
        {
            "process": 1,
            "f": "read",
            "argument": None,
            "result": "a",
            "outcome": "ok",
            "called_ns": 5,
            "returned_ns": 6,
        }
    ]
    assert [len(example[part]) for part in ("order", "enough")] == [2, 3]


def test_what_the_budget_does_not_suffice_for_is_unknown_with_exit_code_3(tmp_path: Path) -> None:
    histories.write(tmp_path / "history.jsonl", unknown_writes(40))
    done = quorate_here("check", "history.jsonl", "--budget", "5000", folder=tmp_path)
    assert done.returncode == 3, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("unknown: ")
    assert said[1] == "undecided: key 'x'; give more steps with --budget"


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["nowhere"], "there is no file 'nowhere': give a history"),
        (["."], "'.' is a folder: give the history in it"),
        (["x" * 300], "cannot be read (File name too long)"),
        (["binary"], "'binary', line 2: not UTF-8 text"),
        (["garbage"], "'garbage', line 1: "),
        (["empty"], "'empty' holds no operation of a client"),
        (["garbage", "--budget", "0"], "Invalid value for '--budget'"),
        ([], "Missing argument"),
    ],
)
def test_what_is_no_history_is_refused_with_exit_code_2(
    arguments: list[str], fault: str, tmp_path: Path
) -> None:
    (tmp_path / "binary").write_bytes(b"\n\xff\xfe")
    (tmp_path / "garbage").write_text("%PDF-1.7 \x00\x1b[2J")
    (tmp_path / "empty").touch()
    done = quorate_here("check", *arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert fault in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
