"""A journal on a disk that fails: what was confirmed is there, and nothing is confirmed after it.

The faults are real ones where the system lets us make them: a full file system, a limit on the size
of files, calls of the C library that fail or hang, and kill -9.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from node.journal_file import FILE
from tests.journal_hand import opened

# Writes entry after entry with a snapshot now and then; prints each confirmed sequence, and at the
# end the failure if there was one.
WRITER = """
    import asyncio, contextlib, sys
    from pathlib import Path
    from node.journal import Journal
    from node.journal_file import JournalError
    from protocol.effects import AppendEntries, HardState, KeepSnapshot
    from tests.journal_hand import CLUSTER, NODE, batch, entry, snapshot

    async def main(folder, entry_size):
        journal = Journal.open(Path(folder), CLUSTER, NODE)
        restored = journal.load()
        assert not journal.damage, journal.damage
        base = restored.snapshot.index if restored.snapshot else 0
        at = confirmed = restored.entries[-1].index if restored.entries else base
        own = len(restored.batches)
        failed = asyncio.Event()
        journal.on_failure = lambda failure: failed.set()

        def done(sequence):
            nonlocal confirmed
            assert sequence > confirmed
            confirmed = sequence
            print(sequence, flush=True)

        while not failed.is_set():
            if at - confirmed < 50 and journal.failure is None:
                at += 1
                records = [HardState(at, NODE), AppendEntries((entry(at, 1, bytes(entry_size)),))]
                if at % 7 == 0:
                    own += 1
                    records.append(batch(own, own))
                if at % 100 == 0:
                    records.append(KeepSnapshot(snapshot(at - 10, bytes(at)), at - 20, False))
                with contextlib.suppress(JournalError):  # it has failed just now
                    journal.write(at, tuple(records), done)
            await asyncio.sleep(0 if at - confirmed < 50 else 0.001)
        last = confirmed
        await asyncio.sleep(0.05)
        assert confirmed == last, "confirmed after the failure"
        print(type(journal.failure).__name__, journal.failure, flush=True)
        try:
            journal.close()
        except type(journal.failure):
            pass

    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""

# Fails or hangs while a file of that name is in $FAULTS; of reads, only those of the database.
SHIM = """
    #define _GNU_SOURCE
    #include <errno.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <sys/types.h>
    #include <unistd.h>

    static int on(const char *fault) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", getenv("FAULTS"), fault);
        return access(path, F_OK) == 0;
    }
    static int sync_file(long call, int file) {
        while (on("hang")) usleep(1000);
        if (on("sync")) { errno = EIO; return -1; }
        return syscall(call, file);
    }
    int fsync(int file) { return sync_file(SYS_fsync, file); }
    int fdatasync(int file) { return sync_file(SYS_fdatasync, file); }
    static int is_database(int file) {
        char link[64], path[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t size = readlink(link, path, sizeof path - 1);
        if (size < 0) return 0;
        path[size] = 0;
        return strstr(path, "journal.db") != NULL;
    }
    ssize_t pread64(int file, void *to, size_t size, off_t at) {
        if (on("read") && is_database(file)) { errno = EIO; return -1; }
        return syscall(SYS_pread64, file, to, size, at);
    }
    ssize_t pread(int file, void *to, size_t size, off_t at) { return pread64(file, to, size, at); }
"""


def run(program: str, *arguments: object, before: str = "", **more: object) -> list[str]:
    """The lines that the program prints; the shell does `before` first."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    if before:
        command = ["sh", "-c", f'{before} && exec "$@"', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return [str(line) for line in done.stdout.splitlines()]


def check_all_there(data_dir: Path, confirmed: int) -> None:
    """Everything up to the confirmed sequence is there, in order, and nothing is torn."""
    with opened(data_dir) as journal:
        assert not journal.damage
        kept = journal.load()
    base = kept.snapshot.index if kept.snapshot else 0
    last = kept.entries[-1].index if kept.entries else base
    assert last >= confirmed
    assert kept.hard_state.term == last
    assert len(kept.batches) == last // 7
    assert kept.batches == tuple(sorted(kept.batches, key=kept.batches.index))
    assert base == max(0, last // 100 * 100 - 10)
    assert [each.index for each in kept.entries] == list(range(max(1, base - 10), last + 1))


# -- kill -9 ---------------------------------------------------------------------------------------


def test_kill_minus_nine_never_loses_what_was_confirmed(tmp_path: Path) -> None:
    moments = random.Random(1)
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), "100"]
    confirmed = 0
    for _ in range(12):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(moments.randint(1, 40))]
            process.kill()
            lines += process.stdout.readlines()
        # A line that the kill cut short is a shorter number, so it asks for less.
        confirmed = max(confirmed, *(int(line) for line in lines if line.strip()))
        check_all_there(tmp_path, confirmed)
    assert confirmed > 20


# -- a full disk -----------------------------------------------------------------------------------


def test_a_full_disk_fails_the_journal_and_loses_nothing(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    program = f"""{textwrap.dedent(WRITER)}
import subprocess
from tests.test_journal_faults import check_all_there
from node.journal_file import JournalUnwritable

confirmed = 0  # what `done` was told is on the first lines
try:
    Journal.open(Path(sys.argv[1]), CLUSTER, NODE).close()
    print("there was room")
except JournalUnwritable as refused:
    print("refused:", refused)
subprocess.run(["mount", "-o", "remount,size=64m", sys.argv[1]], check=True)
check_all_there(Path(sys.argv[1]), int(open(sys.argv[3]).read()))
print("all there")
"""
    # The mount is seen by this one process only, and ends with it.
    may_mount = ["unshare", "-m", "mount", "-t", "tmpfs", "none", str(mounted)]
    if not shutil.which("unshare") or subprocess.run(may_mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    program = program.replace(
        "print(sequence, flush=True)", "open(sys.argv[3], 'w').write(str(sequence))"
    )
    lines = run_mounted(program, mounted, tmp_path / "confirmed")
    assert lines[0].startswith("JournalUnwritable")
    assert "full" in lines[0]
    assert "make room" in lines[0]
    assert lines[-1] == "all there"


def run_mounted(program: str, mounted: Path, confirmed: Path) -> list[str]:
    arguments = [sys.executable, "-c", program, str(mounted), "40000", str(confirmed)]
    mount = f"mount -t tmpfs -o size=12m none {mounted}"
    command = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', "sh", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_limit_on_the_size_of_files_fails_the_journal_and_loses_nothing(tmp_path: Path) -> None:
    limit = 10 * 1024 * 1024
    program = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    program += "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    lines = run(program + textwrap.dedent(WRITER), tmp_path, 200_000)
    assert lines[-1].startswith("JournalUnwritable")
    check_all_there(tmp_path, int(lines[-2]))


# -- calls that fail -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose calls fail on demand."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(textwrap.dedent(SHIM))
    library = folder / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, folder / "shim.c"]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"the C compiler does not work: {made.stderr}")
    return library


def faulty(shim: Path, faults: Path) -> dict[str, str]:
    faults.mkdir()
    return {"LD_PRELOAD": str(shim), "FAULTS": str(faults)}


def test_after_a_failed_fsync_nothing_is_confirmed(tmp_path: Path, shim: Path) -> None:
    environment = {**os.environ, **faulty(shim, tmp_path / "faults")}
    program = WRITER.replace(
        "print(sequence, flush=True)",
        "print(sequence, flush=True); sequence > 30 and open(sys.argv[3], 'w').close()",
    )
    fault = tmp_path / "faults" / "sync"
    lines = run(program, tmp_path / "data", 100, fault, env=environment)
    assert lines[-1].startswith("JournalUnwritable")
    assert "I/O" in lines[-1]
    check_all_there(tmp_path / "data", int(lines[-2]))


def test_a_disk_that_cannot_be_read_is_no_damage(tmp_path: Path, shim: Path) -> None:
    environment = {**os.environ, **faulty(shim, tmp_path / "faults")}
    with opened(tmp_path / "data"):
        pass
    before = (tmp_path / "data" / FILE).read_bytes()
    program = """
        import sys
        from pathlib import Path
        from node.journal import Journal
        from tests.journal_hand import CLUSTER, NODE
        try:
            Journal.open(Path(sys.argv[1]), CLUSTER, NODE)
        except Exception as fault:
            print(type(fault).__name__, fault)
    """
    (tmp_path / "faults" / "read").touch()
    lines = run(program, tmp_path / "data", env=environment)
    assert len(lines) == 1
    assert lines[0].startswith("JournalUnreadable")
    assert "look after the disk" in lines[0]
    assert (tmp_path / "data" / FILE).read_bytes() == before
    with opened(tmp_path / "data") as journal:
        assert journal.starts == 2


def test_a_disk_that_hangs_is_told_and_holds_up_nothing(tmp_path: Path, shim: Path) -> None:
    environment = {**os.environ, **faulty(shim, tmp_path / "faults")}
    program = """
        import asyncio, sys, threading
        from pathlib import Path
        import node.journal
        from node.journal import Journal
        from protocol.effects import HardState
        from tests.journal_hand import CLUSTER, NODE

        async def main(folder, hang):
            node.journal.CLOSE_TIMEOUT_S = 0.2
            journal = Journal.open(folder, CLUSTER, NODE)
            hang.touch()
            confirmed = []
            for sequence in range(1, 4):
                journal.write(sequence, (HardState(sequence, NODE),), confirmed.append)
            waited = []
            while len(waited) < 3:  # the loop goes on
                await asyncio.sleep(0.05)
                waited.append(journal.status().waiting_s)
            assert 0 < waited[0] < waited[1] < waited[2], waited
            assert journal.status().waiting == 3, journal.status()
            assert confirmed == []
            if sys.argv[3] == "close":
                try:
                    journal.close()
                except node.journal.JournalUnwritable as late:
                    print(late)
                hang.unlink()
                return
            hang.unlink()
            while journal.status().waiting:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            print(confirmed[-1], journal.status().waiting_s)
            journal.close()

        asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
    """
    hang = tmp_path / "faults" / "hang"
    lines = run(program, tmp_path / "data", hang, "wait", env=environment)
    assert lines == ["3 0.0"]
    lines = run(program, tmp_path / "data", hang, "close", env=environment)
    assert "has not answered for 0.2 s" in lines[0]
