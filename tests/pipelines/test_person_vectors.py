"""What Live hands the person encoder, and what other encoders change of it."""

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from heirloom.encoders.hashed import Hashed
from heirloom.encoders.history import Histories
from heirloom.encoders.question import Questions, wish_vector, wished
from heirloom.pipelines.live import fold_content
from heirloom.retrieval.content import ContentIndex

from .shop import Shop, person_encoder


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heirloom.pipelines.live.REFIT_EVERY", 64)
        patch.setattr("heirloom.retrieval.diction.LEAST_LISTINGS", 3)
        yield Shop(3, 12).run(40)


def test_a_person_is_read_in_the_order_of_the_log_with_what_is_asked(
    shop: Shop,
) -> None:
    live, compared = shop.live, 0
    for code in range(1, len(live.vocabulary.texts("person"))):
        slots, kinds, t = live.people.recent(code)
        user = live.vocabulary.text("person", code)
        if len(set(t.tolist())) < 3 or user.startswith("session:"):
            continue
        query = msgspec.structs.replace(
            shop.query(), t=shop.now, user=user, surface="search", text="red coats", anchor=None
        )
        request = live.request(query)
        order = np.arange(len(slots))[::-1]  # as the log has them
        past = Histories(
            np.array([0, len(slots)]), slots[order] + 1, kinds[order],
            np.zeros(len(slots), np.int8), t[order],
        )  # fmt: skip
        stated = {**live.preferences.stated(code), **query.attributes}
        wish = wish_vector(live.content.encoder, wished(stated))
        asked = np.stack([live.content.text("red coats"), wish, np.zeros(16, np.float32)])
        question = Questions(np.array([request.surface], np.int8), asked[None])
        vectors = live.content.vectors[slots[order]]
        wanted = person_encoder().encode(past, vectors, question)[0]
        np.testing.assert_array_equal(request.person_vectors, wanted)
        compared += 1
    assert compared > 2


def test_content_folded_alone_is_that_of_the_live_state(shop: Shop) -> None:
    live, alone = shop.live, ContentIndex(Hashed(16))
    n = shop.log.end()
    assert n > 3 * 64
    fold_content(alone, shop.log.read(0, n // 2))
    fold_content(alone, shop.log.read(n // 2, n))
    np.testing.assert_array_equal(alone.vectors, live.content.vectors)
    np.testing.assert_array_equal(alone.offers.live, live.content.offers.live)
    slots = np.arange(len(alone.vectors), dtype=np.int32)
    query = msgspec.structs.replace(shop.query(), t=shop.now, surface="search", text="boho dress")
    for code in range(1, len(live.vocabulary.texts("person"))):
        user = live.vocabulary.text("person", code)
        request = live.request(msgspec.structs.replace(query, user=user))
        given, wanted = (of.given(request, slots) for of in (alone, live.content))
        for name, values in wanted.items():
            np.testing.assert_array_equal(given[name], values, err_msg=name)
    nearest = live.content.nearest(live.content.vectors[0], k=10)
    np.testing.assert_array_equal(alone.nearest(alone.vectors[0], k=10).slots, nearest.slots)
