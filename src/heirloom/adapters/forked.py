"""Forked: work that a child process does, with all that this one holds as it is now.

The kernel copies a page when one of the two writes to it, so the child sees one moment, and this
process goes on at once. As Redis writes its snapshots: https://redis.io/docs, "Persistence", RDB.
"""

import gc
import logging
import os
import signal
import warnings
from collections.abc import Callable

from heirloom.core.errors import HeirloomError

logger = logging.getLogger(__name__)

NICE = 10
"""The child gives way to those who answer."""


def forked(work: Callable[[], None]) -> int:
    """Begin work in a child; gives its process id, to be waited for.

    Of the threads the child has the calling one alone, and it has no open file: it holds no lock
    and no socket of this process. The work reads what is in memory, opens files of its own, and
    takes no lock that another thread of this process may hold. The status is 0 when it was done.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns that threads are running; what a child may do then stands above.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        gc.disable()  # a collection would touch, and so copy, all there is
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(one, signal.SIG_DFL)
        os.nice(NICE)
        work()
        status = 0
    except HeirloomError as error:
        logger.warning("%s", error)
    except Exception:
        logger.exception("a child that was to write failed")
    finally:
        os._exit(status)
