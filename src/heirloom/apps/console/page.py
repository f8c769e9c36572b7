"""Page: one page of the console. Its file defines one, and `pages.PAGES` lists it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from heirloom.apps.console.processes import Processes


@dataclass(frozen=True, slots=True)
class Page:
    """One page: `PATH` for a person, and `PATH.json` for a program.

    Attributes:
        path: below /console.
        title: in the navigation.
        template: what draws it, given what `look` found as `seen`.
        look: what is to be seen now.
    """

    path: str
    title: str
    template: str
    look: Callable[[Processes], Awaitable[msgspec.Struct]]
