"""PersonEncoder: what somebody did, as vectors in the space of the listings. Serves by ONNX."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, ConfigError, InputError, ShapeError
from heirloom.encoders.history import Histories, gap_buckets
from heirloom.encoders.question import Questions

if TYPE_CHECKING:  # it is loaded where a bundle has a graph
    import onnxruntime

MODEL_FILE = "person.onnx"
ABOUT_FILE = "person.json"
_AT_ONCE = 256


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must be known of a person encoder besides its graph."""

    dim: int
    vectors: int
    """How many a person has."""
    events: int
    """The latest so many are read."""
    listings: str
    """model_id of the encoder whose vectors it reads and answers in."""
    questions: bool = False
    """Whether it reads what is asked, too."""


class PersonEncoder:
    """Vectors of people from their latest events, comparable with those of listings.

    Args:
        model: an ONNX graph as `training.graph.person_graph` makes it.
        about: what it is.

    Raises:
        BundleError: if the graph cannot be read, or is not what `about` says.
    """

    def __init__(self, model: bytes, about: About) -> None:
        self.about = about
        digest = hashlib.blake2b(model + msgspec.json.encode(about), digest_size=8).hexdigest()
        self.model_id = f"person-1-{about.dim}-{digest}"
        self._model = model
        self._session = session(model, "PersonEncoder")
        wanted = {"items", "kinds", "gaps", "surfaces", "last"}
        wanted |= {"asked_surface", "asked"} if about.questions else set()
        if {of.name for of in self._session.get_inputs()} != wanted:
            raise BundleError(f"{MODEL_FILE}: wanted inputs {', '.join(sorted(wanted))}")
        shape = self._session.get_outputs()[0].shape[1:]
        if shape != [about.vectors, about.dim]:
            raise BundleError(f"{MODEL_FILE} gives {shape}; {ABOUT_FILE} says otherwise: {about}")

    def meets(self, model_id: str) -> None:
        """Whether its vectors may be compared with those of a listing encoder.

        Raises:
            ConfigError: if that is another than it was trained with.
        """
        if model_id != self.about.listings:
            raise ConfigError(
                "person encoder",
                [
                    f"listings are encoded by {model_id}; it was trained with "
                    f"{self.about.listings}. Load the pair that was trained together"
                ],
            )

    def encode(
        self,
        histories: Histories,
        vectors: NDArray[np.float32],
        questions: Questions | None = None,
    ) -> NDArray[np.float32]:
        """[people, vectors, dim] float32; zeros for somebody of whom nothing is known.

        That is who has no events and, where questions are read, asks with no text, wish or anchor.

        Args:
            histories: the people, in order; `items` are not looked at.
            vectors: [events, dim] float32, of the listing of each event.
            questions: what each of them asks; None: nothing, on no surface in particular. An
                encoder trained without questions leaves them aside.

        Raises:
            ShapeError: if there is not one vector of `dim` for each event, or not one question
                for each of the people.
            InputError: if a vector is no number.
        """
        wanted = (len(histories.items), self.about.dim)
        if vectors.shape != wanted:
            raise ShapeError(f"PersonEncoder: vectors {vectors.shape}; wanted {wanted}")
        if not np.isfinite(vectors).all():
            bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise InputError(f"PersonEncoder: the vector of event {bad} is no number; encode again")
        asked = questions or Questions.none(len(histories), self.about.dim)
        if len(asked) != len(histories) or asked.vectors.shape[2] != self.about.dim:
            raise ShapeError(
                f"PersonEncoder: questions {asked.vectors.shape} of {len(histories)} people; "
                f"wanted one each, of dim {self.about.dim}"
            )
        out = np.zeros((len(histories), self.about.vectors, self.about.dim), np.float32)
        lengths = np.minimum(np.diff(histories.starts), self.about.events)
        known = lengths > 0
        if self.about.questions:
            known |= asked.vectors.any(axis=(1, 2))
        people = np.argsort(lengths, kind="stable")
        people = people[known[people]]
        for begin in range(0, len(people), _AT_ONCE):
            some = people[begin : begin + _AT_ONCE]
            read = self._events(histories, vectors, some, lengths[some])
            if self.about.questions:
                read["asked_surface"] = asked.surfaces[some].astype(np.int64)
                read["asked"] = asked.vectors[some]
            out[some] = self._session.run(None, read)[0]
        return out

    def _events(
        self,
        histories: Histories,
        vectors: NDArray[np.float32],
        people: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> dict[str, NDArray[Any]]:
        """The graph's inputs of people's latest events, padded on the right."""
        if not len(vectors):
            vectors = np.zeros((1, self.about.dim), np.float32)
        ends = histories.starts[people + 1]
        steps = np.arange(max(int(lengths.max()), 1))
        there = steps < lengths[:, None]
        places = np.where(there, (ends - lengths)[:, None] + steps, 0)
        gaps = np.zeros(places.shape, np.int64)
        for row, (end, length) in enumerate(zip(ends.tolist(), lengths.tolist(), strict=True)):
            # One event more than is read, where there is one: the first gap is known then too.
            begin = max(end - length - 1, int(histories.starts[people[row]]))
            gaps[row, :length] = gap_buckets(histories.t[begin:end])[end - begin - length :]
        kinds, surfaces = np.zeros_like(gaps), np.zeros_like(gaps)
        kinds[there], surfaces[there] = (
            column[places[there]] for column in (histories.kinds, histories.surfaces)
        )
        return {
            "items": np.where(there[..., None], vectors[places], 0).astype(np.float32),
            "kinds": kinds,
            "gaps": gaps,
            "surfaces": surfaces,
            "last": lengths - 1,
        }

    def save(self, folder: Path) -> None:
        """Write person.onnx and person.json."""
        (folder / MODEL_FILE).write_bytes(self._model)
        about = msgspec.json.format(msgspec.json.encode(self.about))
        (folder / ABOUT_FILE).write_bytes(about)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing or is none of ours.
        """
        try:
            about = msgspec.json.decode((folder / ABOUT_FILE).read_bytes(), type=About)
            return cls((folder / MODEL_FILE).read_bytes(), about)
        except (OSError, msgspec.MsgspecError) as error:
            raise BundleError(f"PersonEncoder.load: {folder.name}: {error}") from error


def session(model: bytes, where: str) -> "onnxruntime.InferenceSession":
    """An ONNX graph made ready on one thread: a server runs many beside each other.

    Raises:
        BundleError: if it is no graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        raise BundleError(f"{where}: the ONNX graph cannot be read: {error}") from error
