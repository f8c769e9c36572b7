"""A writer that is killed before each statement in turn that writes a snapshot.

Every file and folder that Python opens to write, renames, makes or removes is told to an audit hook
(PEP 578) before it is done. A forked process that is about to touch a snapshot in a way that is not
in a list yet writes that there and kills itself, and the writer with it where it is a child that
writes for it. So each life ends at the next statement, and the product holds nothing for it. Of the
many arrays of a state the first, second, fourth, eighth and so on stand for all. What SIGKILL
leaves of a file is what was written to it: that it is synced too makes no difference here, it does
where the power fails.
"""

import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path

FOLDERS = re.compile(r"/((?:snapshots|vectors|states?)/.*)")
"""Of a system's folder, those that hold snapshots."""
_NUMBER = re.compile(r"\d{20}")
_ARRAY = re.compile(r"[^/]+\.npy$")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_NAMED = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.utime", "shutil.rmtree")


def statement(event: str, arguments: tuple[object, ...]) -> str:
    """An audited event as one that writes a snapshot, whatever its offset; "" if it is none.

    >>> statement("os.mkdir", ("/a/snapshots/view@1/.writing-00000000000000000007", 511, -1))
    'os.mkdir snapshots/view@1/.writing-N'
    >>> statement("open", ("/a/snapshots/view@1/x.npy", "rb", os.O_RDONLY))
    ''
    >>> statement("open", ("/a/snapshots/view@1/x.npy", "wb", os.O_WRONLY))
    'open snapshots/view@1/*.npy'
    """
    if (event != "open" and event not in _NAMED) or not arguments:
        return ""
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITES):
        return ""
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    name, folder = os.fsdecode(path), arguments[-1]
    if not name.startswith("/") and event in ("os.remove", "os.rmdir") and isinstance(folder, int):
        name = f"{_folder(folder)}/{name}"
    found = FOLDERS.search(name)
    return f"{event} {_ARRAY.sub('*.npy', _NUMBER.sub('N', found[1]))}" if found else ""


def _folder(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def code(told: Path, prefix: str = "") -> str:
    """What python runs in place of `heirloom`: the same, cut.

    Args:
        told: a file of the statements that were cut at, one a line; until it exists, none is.
        prefix: of statements, "os.rename"; "": all.
    """
    return (
        "from pathlib import Path; from benchmarks.faults_cut import cut_at; "
        f"cut_at(Path({str(told)!r}), {prefix!r}); "
        "from heirloom.apps.main import main; main()"
    )


def cut_at(told: Path, prefix: str) -> None:
    """Kill the forked process that comes to a statement that is not told yet; see `code`."""
    parent = os.getpid()
    cut: set[str] = set()
    times: Counter[str] = Counter()
    of = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal of
        if (event != "open" and event not in _NAMED) or os.getpid() == parent:
            return
        key = statement(event, arguments)
        if not key or not key.startswith(prefix) or not told.exists():
            return
        if of != os.getpid():  # another life
            of = os.getpid()
            times.clear()
            cut.update(told.read_text(encoding="utf-8").splitlines())
        times[key] += 1
        time = times[key]
        key = key if time == 1 else f"{key} #{time}"
        if time.bit_count() > 1 or key in cut:
            return
        with told.open("a", encoding="utf-8") as file:
            file.write(f"{key}\n")
        if os.getppid() not in (1, parent):
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
