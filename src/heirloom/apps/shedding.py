"""Shedding: who waits for the one thread that answers, and when the next is sent away at once.

A line that grows makes everybody late, and work that nobody waits for any longer takes the place of
work that somebody does. So it is short, and who comes past it is told to come again: "Handling
overload" and "Addressing cascading failures" in Beyer et al., "Site Reliability Engineering"
(2016), chapters 21 and 22.
"""

from heirloom.apps.problems import ProblemError

_FIRST_NS = 1_000_000
_LEAST_NS = 10_000
_SURPRISE = 8
"""One answer that took longer than so many times the usual counts as having taken that."""
_WEIGHT = 16
_LONGEST_S = 30
Counts = list[int] | memoryview
"""[4]: how many entered a line, left it, were begun and ended; as memory, int64 that others map."""
_ENTERED, _LEFT, _BEGUN, _ENDED = range(4)


class Line:
    """A bounded line before one thread. Times are ns and passed in.

    One thread enters and leaves, the other begins and ends; each count has one writer.

    Args:
        most: so many may wait.
        counts: where it counts, if others are to see it.

    Attributes:
        most: so many may wait.
        usual: ns, what an answer usually takes.
    """

    def __init__(self, most: int, counts: Counts | None = None) -> None:
        self.most = most
        self.usual = _FIRST_NS
        self._counts = [0, 0, 0, 0] if counts is None else counts

    @property
    def waiting(self) -> int:
        """How many wait."""
        counts = self._counts
        return counts[_ENTERED] - counts[_LEFT] - counts[_BEGUN]

    @property
    def ended(self) -> int:
        """How many were begun and have come to their end."""
        return ended(self._counts)

    @property
    def wait(self) -> int:
        """Ns that who enters now is likely to wait."""
        return present(self._counts) * self.usual

    def refusal(self, left: int) -> str:
        """Why somebody who has `left` ns to wait is not let in; "" if they are.

        They may stand in line for half of it. The rest is for their own answer, and for those
        before them who take longer than usual: who is let in and then comes too late has cost
        another their turn.

        >>> line = Line(1)
        >>> line.refusal(10**9), line.enter(), line.refusal(10**9)
        ('', None, 'full')
        """
        waiting = self.waiting
        if waiting >= self.most:
            return "full"
        return "slow" if waiting and 2 * self.wait > left else ""

    def enter(self) -> None:
        """Wait."""
        self._counts[_ENTERED] += 1

    def leave(self) -> None:
        """Wait no longer, though it was never begun."""
        self._counts[_LEFT] += 1

    def begin(self) -> None:
        """The one who waited longest is answered now."""
        self._counts[_BEGUN] += 1

    def end(self, took: int) -> None:
        """And is answered, `took` ns later."""
        self._counts[_ENDED] += 1
        off = min(took, _SURPRISE * self.usual) - self.usual
        self.usual = max(self.usual + off // _WEIGHT, _LEAST_NS)


def present(counts: Counts) -> int:
    """How many stand in a line, or are answered."""
    return counts[_ENTERED] - counts[_LEFT] - counts[_ENDED]


def ended(counts: Counts) -> int:
    """How many were begun in a line and have come to their end."""
    return counts[_ENDED]


def sent_away(line: Line, why: str) -> ProblemError:
    """503, and when to come again."""
    seconds = min(max(1, -(-line.wait // 1_000_000_000)), _LONGEST_S)
    said = {
        "full": "More are waiting here than can be answered in time.",
        "slow": "Your turn would come too late for an answer in the time you have.",
        "late": "This took longer than you can wait.",
        "failed": "This cannot be answered now.",
    }
    return ProblemError(
        503,
        said[why],
        wanted=f"the same request after {seconds} s",
        headers={"retry-after": str(seconds)},
    )
