"""What can go wrong, by what the caller can do about it.

Every message says where it happened, what came, what was wanted, and what to do.
"""

from collections.abc import Sequence


class HeirloomError(Exception):
    """Base of all errors that heirloom raises on purpose."""


class ConfigError(HeirloomError):
    """A setting, mapping or policy is wrong: change the file and start again.

    All that is wrong is gathered and shown at once.
    """

    def __init__(self, where: str, problems: Sequence[str]) -> None:
        self.where = where
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{where}: {len(self.problems)} problem(s){lines}")


class InputError(HeirloomError):
    """What a person, client or file sent cannot be used: send something else."""


class SchemaError(HeirloomError):
    """A table lacks a column or has one of another type than was wanted."""


class ShapeError(HeirloomError):
    """An array has another shape than was wanted; the message names the dimensions."""


class BundleError(HeirloomError):
    """A model bundle is damaged, unsafe, or was trained for other columns."""


class StoreError(HeirloomError):
    """A store cannot be reached or is damaged; the message says whether to retry."""


class MismatchError(StoreError):
    """A store is of another log or system: nothing is answered from it, nor in spite of it."""


class NotFoundError(HeirloomError):
    """No such listing, bundle, retriever or page."""
