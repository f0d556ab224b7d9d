"""Reading what models write."""

from agent_setup import read_answer
from hypothesis import given
from hypothesis import strategies as st

from node.agents.answer import AnswerReader
from protocol.jobs import FILE_SIZE_MAX, File

BODY = "x = 1\n"


def files_of(text: str, *wanted: str) -> dict[str, str]:
    answer = read_answer(text, wanted or ("add.py",))
    return {file.path: file.content.decode() for file in answer.files}


def test_every_common_way_to_name_a_file_is_understood() -> None:
    for opening in (
        "```python path=add.py",
        '```python path="add.py"',
        "``` {.python file=add.py}",
        "```python title='add.py'",
        "```add.py",
        "```python:add.py",
        "```python ./add.py",
        "~~~python path=add.py",
        "**add.py**\n```python",
        "### `add.py`\n\n```python",
        "# file: add.py\n```",
        "Here is add.py:\n```python",
        "```python\n# file: add.py",
        "```python\n# add.py",
    ):
        closing = "~~~" if opening.startswith("~") else "```"
        text = f"Sure.\n{opening}\n{BODY}{closing}\nand\n```python path=sub.py\ny\n```\n"
        assert files_of(text, "add.py", "sub.py") == {"add.py": BODY, "sub.py": "y\n"}, opening


def test_a_first_line_too_long_to_be_a_name_is_content() -> None:
    line = f"# add.py{' ' * 400}"
    assert files_of(f"```python\n{line}\n{BODY}```") == {"add.py": f"{line}\n{BODY}"}
    assert files_of(f"```python\n# add.py{' ' * 100_000}x\n{BODY}```\n")["add.py"].endswith(BODY)


def test_one_unnamed_block_is_the_one_wanted_file() -> None:
    assert files_of(f"```python\n{BODY}```") == {"add.py": BODY}


def test_two_unnamed_blocks_are_ambiguous() -> None:
    answer = read_answer(f"```\n{BODY}```\n```\n{BODY}```\n", ("add.py",))
    assert answer.files == ()
    assert answer.faults == ("add.py is missing", "2 blocks do not say which file they are")


def test_a_console_example_after_the_file_does_not_replace_it() -> None:
    text = f"```python path=add.py\n{BODY}```\nRun add.py:\n```bash\npython add.py\n```\n"
    assert files_of(text) == {"add.py": BODY}


def test_an_unclosed_last_fence_means_truncated() -> None:
    answer = read_answer("```python path=add.py\ndef add(", ("add.py",))
    assert answer.files == ()
    assert answer.truncated == "add.py"
    assert answer.faults == ("add.py is cut off: its fence is not closed",)


def test_a_forgotten_closing_fence_costs_only_its_own_file() -> None:
    text = "```python path=a.py\na\n```python path=b.py\nb\n```\n"
    answer = read_answer(text, ("a.py", "b.py"))
    assert answer.files == (File("b.py", b"b\n"),)
    assert answer.faults == ("a.py: its fence is not closed",)


def test_line_ends_of_windows_become_plain() -> None:
    assert files_of("```python path=add.py\r\nx = 1\r\n```\r\n") == {"add.py": BODY}


def test_fences_inside_a_longer_fence_are_content() -> None:
    text = "````markdown path=README.md\n```python\ncode\n```\n````\n"
    assert files_of(text, "README.md") == {"README.md": "```python\ncode\n```\n"}


def test_fences_nested_in_one_of_equal_length_are_content() -> None:
    text = "```markdown path=README.md\nUse:\n```python\ncode\n```\nEnd.\n```\n"
    assert files_of(text, "README.md") == {"README.md": "Use:\n```python\ncode\n```\nEnd.\n"}


def test_paths_that_nobody_asked_for_are_refused_and_named() -> None:
    text = f"```python path=../../etc/passwd\n{BODY}```\n```python path=other.py\n{BODY}```\n"
    answer = read_answer(text, ("add.py",))
    assert answer.files == ()
    assert answer.refused == ("../../etc/passwd", "other.py")
    assert "nobody asked for ../../etc/passwd, other.py" in answer.faults


def test_an_empty_file_is_a_fault_unless_it_is_an_init() -> None:
    text = "```python path=add.py\n\n```\n```python path=p/__init__.py\n```\n"
    answer = read_answer(text, ("add.py", "p/__init__.py"))
    assert answer.files == (File("p/__init__.py", b""),)
    assert answer.faults == ("add.py is empty",)


def test_a_file_over_the_limit_is_a_fault() -> None:
    text = f"```python path=add.py\n{'x' * FILE_SIZE_MAX}\n```\n"
    answer = read_answer(text, ("add.py",))
    assert answer.files == ()
    assert f"the limit for one file is {FILE_SIZE_MAX}" in answer.faults[0]


def test_the_last_version_of_a_file_counts() -> None:
    text = "```python path=add.py\nfirst\n```\nBetter:\n```python path=add.py\nsecond\n```\n"
    assert files_of(text) == {"add.py": "second\n"}


def test_a_file_comes_out_of_the_stream_as_soon_as_its_fence_closes() -> None:
    reader = AnswerReader(("a.py", "b.py"))
    assert reader.feed("```python path=a.py\nx = 1\n``") == ()
    assert reader.feed("`\n```python path=b.py\n") == (File("a.py", b"x = 1\n"),)
    assert reader.close().missing == ("b.py",)


PIECES = st.sampled_from(
    [
        "```",
        "````",
        "~~~",
        "python",
        " path=a.py",
        " path=b.py",
        "\n",
        "\r\n",
        "a.py",
        "x",
        "# ",
        "",
    ]
)


@given(st.lists(PIECES, max_size=40), st.lists(st.integers(0, 200), max_size=8))
def test_the_answer_does_not_depend_on_how_the_text_was_cut(
    pieces: list[str], cuts: list[int]
) -> None:
    text = "".join(pieces)
    reader = AnswerReader(("a.py", "b.py"))
    begin = 0
    for cut in sorted(cuts):
        reader.feed(text[begin:cut])
        begin = max(begin, cut)
    reader.feed(text[begin:])
    assert reader.close() == read_answer(text, ("a.py", "b.py"))


@given(st.text(max_size=400))
def test_any_text_can_be_read(text: str) -> None:
    answer = read_answer(text, ("a.py",))
    assert {file.path for file in answer.files} | set(answer.missing) == {"a.py"}
