"""Preferences: the brands and sizes that people state in `prefer` events, as codes."""

from collections.abc import Sequence
from dataclasses import dataclass

from heirloom.core.event import Kind, Scalar, person_key
from heirloom.core.log import Entry
from heirloom.core.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Preference:
    """What one person stated last. Empty: nothing."""

    brands: frozenset[int] = frozenset()
    sizes: frozenset[int] = frozenset()


class Preferences:
    """The latest statement of each person. Saying it anew replaces what is said of, no more."""

    def __init__(self) -> None:
        self._of: dict[int, Preference] = {}

    def apply(self, entries: Sequence[Entry], vocabulary: Vocabulary) -> None:
        """Fold `prefer` events; their attributes `brands` and `sizes` are lists of names."""
        for entry in entries:
            event = entry.event
            if event.kind != Kind.PREFER:
                continue
            person = vocabulary.find("person", person_key(event.user, event.session))
            before = self.of(person)
            said = event.attributes
            self._of[person] = Preference(
                _codes(vocabulary, "brand", said["brands"]) if "brands" in said else before.brands,
                _codes(vocabulary, "size", said["sizes"]) if "sizes" in said else before.sizes,
            )

    def of(self, person: int) -> Preference:
        """What a person stated."""
        return self._of.get(person, Preference())


def _codes(vocabulary: Vocabulary, field: str, said: Scalar | list[str]) -> frozenset[int]:
    """Codes of names, in the case that listings use; a name no listing has yet has none."""
    names = said if isinstance(said, list) else [str(said)]
    forms = {form for name in names for form in (name, name.upper(), name.lower(), name.title())}
    return frozenset(code for form in forms if (code := vocabulary.find(field, form)))
