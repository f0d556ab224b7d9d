"""Runs verification tests with nothing but the standard library: a check must start in no time.

    python tests/check.py tests/test_add.py [more test files]

Every `test_` function of the files is called; each failure is one line that quotes the assertion
and what came instead. Exit status: 0 all passed, 1 a test failed or the tests did not come to
their end, 2 there was nothing to run.

The tests run in a child process, and its exit status proves nothing: the code under test can leave
with status 0 at any moment (`os._exit`, `atexit`, a signal). What counts is a verdict with a number
drawn for this run, written to a pipe after the last test. This holds against code that ends the
process; it does not hold against code that searches this interpreter for that number, or returns
objects that equal everything: no test can, that runs in one process with what it tests.

Modules are looked for in the working folder first, then in `doubles` beside this file (references
for what a tested module imports while its own file is still being written), then here. The tests
are ordinary ones: pytest runs them too.
"""

import os
import sys

LINE_SIZE_MAX = 600  # characters of one failure
PASSED, FAILED, NOTHING_TO_RUN = 0, 1, 2


def main(paths):
    """Run the test files in a child process; the exit status."""
    reading_end, writing_end = os.pipe()
    proof = os.urandom(16)
    child = os.fork()
    if not child:
        os.close(reading_end)
        status = run_files(paths)
        sys.stdout.flush()
        os.write(writing_end, proof + bytes([status]))
        os._exit(status)  # whatever the tested code wants to do at exit comes too late
    os.close(writing_end)
    _, ended = os.waitpid(child, 0)
    os.set_blocking(reading_end, False)  # somebody the tested code left behind may hold the other
    try:
        verdict = os.read(reading_end, 1024)
    except BlockingIOError:
        verdict = b""
    if verdict[:-1] != proof:
        code = os.waitstatus_to_exitcode(ended)
        how = f"with status {code}" if code >= 0 else f"by signal {-code}"
        print(f"the tested code ended the process before the last test was through, {how}")
        return FAILED
    return verdict[-1]


def run_files(paths):
    """Run the test files; print the failures; the status."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:0] = [os.getcwd(), os.path.join(here, "doubles"), here]
    sys.dont_write_bytecode = True
    tests = 0
    failures = []
    for path in paths:
        if not os.path.isfile(path):
            print(f"there is no test file {path}")
            return NOTHING_TO_RUN
        found, failed = run_file(path)
        tests += found
        failures += failed
    for line in failures:
        print(line if len(line) <= LINE_SIZE_MAX else line[:LINE_SIZE_MAX] + " ...")
    if failures:
        return FAILED
    if not tests:
        print("no tests to run: name files that hold functions called test_...")
        return NOTHING_TO_RUN
    print(f"{tests} passed")
    return PASSED


def run_file(path):
    """(number of tests, failures) of one file."""
    with open(path, encoding="utf-8") as file:
        source = file.read()
    name = os.path.splitext(os.path.basename(path))[0]
    names = {"__name__": name, "__file__": path}
    # What is tested may raise anything, SystemExit included: that must not end this program.
    try:
        exec(compile(source, path, "exec"), names)
    except BaseException as fault:
        return 0, [f"{name}: cannot be imported: {last_line(fault)}"]
    tests = [value for key, value in names.items() if key.startswith("test_") and callable(value)]
    failures = []
    for test in tests:
        try:
            test()
        except BaseException as fault:
            failures.append(f"{test.__name__}: {explain(fault, path, source)}")
    return len(tests), failures


def explain(fault, path, source):
    """The line of the test that failed, and why, as far as can be told."""
    trace = fault.__traceback__
    frame = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            frame, number = trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
    if frame is None:
        return last_line(fault)
    import ast  # only failures pay for it

    statement = None
    for node in ast.walk(ast.parse(source)):
        # The innermost statement comes last: `walk` goes level by level.
        if isinstance(node, ast.stmt) and node.lineno <= number <= node.end_lineno:
            statement = node
    quoted = " ".join(ast.unparse(statement).split())
    if not isinstance(fault, AssertionError):
        return f"{quoted}: {last_line(fault)}"
    if str(fault):
        return f"{quoted}: {fault}"
    if not isinstance(statement, ast.Assert) or not isinstance(statement.test, ast.Compare):
        return quoted
    # Asking again is fair: what is tested here are functions that depend on their arguments only.
    left = compile(ast.Expression(statement.test.left), path, "eval")
    try:
        return f"{quoted}: got {eval(left, frame.f_globals, frame.f_locals)!r}"
    except Exception as second:
        return f"{quoted}: asked again, {last_line(second)}"


def last_line(fault):
    """As the last line of a traceback reads."""
    return f"{type(fault).__name__}: {fault}".strip().rstrip(":")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
