"""Keys: what opens, what does not, what the file gives away, and that a change holds at once."""

import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heirloom.apps.security.caller import Allowance, Caller
from heirloom.apps.security.keys import Key, KeysFile, KeyTable, WatchedKeys
from heirloom.core.errors import InputError, StoreError

NOW = 1_750_000_000_000


def made(folder: Path, name: str = "shop", scope: str = "read", **more: object) -> tuple[Key, str]:
    return KeysFile(folder).add(name, [scope], now_ms=NOW, **more)  # type: ignore[arg-type]


def found(folder: Path, shown: str, at: int = NOW) -> Caller | str:
    return KeyTable(KeysFile(folder).read()).find(shown, at)


def test_a_key_says_whose_it_is_and_what_it_may(tmp_path: Path) -> None:
    key, shown = KeysFile(tmp_path).add("shop", ["events", "read"], now_ms=NOW)
    caller = found(tmp_path, shown)
    assert isinstance(caller, Caller)
    assert (caller.name, caller.scopes) == ("shop", {"read", "events"})
    assert caller.bucket == f"key:{key.key_id}"
    assert caller.allowance is None


def test_the_file_holds_no_secret_and_is_its_owners_alone(tmp_path: Path) -> None:
    _, shown = made(tmp_path)
    secret = shown.rsplit("_", 1)[1] if shown.count("_") == 2 else shown.split("_", 2)[2]
    assert len(secret) == 43  # 256 bits
    file = tmp_path / "keys.json"
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.glob("*.tmp")) == []


@given(st.data())
def test_no_other_text_opens(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("keys")
    _, shown = made(folder)
    _, other = made(folder, "other")
    ids = [text.split("_")[1] for text in (shown, other)]
    place = data.draw(st.integers(0, len(shown) - 1))
    letter = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda c: c != shown[place]))
    wrong = [
        shown[:place] + letter + shown[place + 1 :],
        shown[:place],
        shown + letter,
        shown.replace(ids[0], ids[1]),  # one's id with another's secret
        data.draw(st.text(max_size=60)),
    ]
    for text in wrong:
        assert found(folder, text) == "unknown"


def test_a_key_ends_with_its_time_and_when_it_is_revoked(tmp_path: Path) -> None:
    _, shown = made(tmp_path, expires_at=NOW + 10)
    assert isinstance(found(tmp_path, shown, NOW + 9), Caller)
    assert found(tmp_path, shown, NOW + 10) == "expired"
    KeysFile(tmp_path).revoke("shop", now_ms=NOW)
    assert found(tmp_path, shown) == "revoked"
    with pytest.raises(InputError, match="none called 'shop'"):
        KeysFile(tmp_path).revoke("shop", now_ms=NOW)


def test_the_newer_of_two_keys_of_a_name_is_revoked(tmp_path: Path) -> None:
    made(tmp_path, expires_at=NOW - 1)
    _, shown = made(tmp_path)
    with pytest.raises(InputError, match="has an active key"):
        made(tmp_path)
    KeysFile(tmp_path).revoke("shop", now_ms=NOW)
    assert found(tmp_path, shown) == "revoked"


@pytest.mark.parametrize(("name", "scope"), [("", "read"), ("a\nb", "read"), ("shop", "write")])
def test_what_is_no_name_or_scope_is_refused(tmp_path: Path, name: str, scope: str) -> None:
    with pytest.raises(InputError, match="wanted"):
        made(tmp_path, name, scope)
    with pytest.raises(InputError, match="scope none"):
        KeysFile(tmp_path).add("shop", [], now_ms=NOW)
    assert not (tmp_path / "keys.json").exists()


def test_keys_added_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    threads = [threading.Thread(target=made, args=(tmp_path, f"k{i}")) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in KeysFile(tmp_path).read()) == sorted(
        f"k{i}" for i in range(12)
    )


def test_a_change_holds_from_the_next_look(tmp_path: Path) -> None:
    file = KeysFile(tmp_path)
    watched = WatchedKeys(file)
    assert watched.table().active(NOW) == 0
    _, first = made(tmp_path, "first", allowance=Allowance(5.0, 2))
    caller = watched.table().find(first, NOW)
    assert isinstance(caller, Caller)
    assert caller.allowance == Allowance(5.0, 2)
    assert watched.table() is watched.table()  # nothing is read where nothing changed
    _, second = made(tmp_path, "second")
    file.revoke("first", now_ms=NOW)
    assert watched.table().find(first, NOW) == "revoked"
    assert isinstance(watched.table().find(second, NOW), Caller)
    file.path.unlink()
    assert watched.table().find(second, NOW) == "unknown"


def test_where_the_file_is_damaged_the_keys_last_read_stand(tmp_path: Path) -> None:
    _, shown = made(tmp_path)
    file = KeysFile(tmp_path)
    watched = WatchedKeys(file)
    assert isinstance(watched.table().find(shown, NOW), Caller)
    whole = file.path.read_bytes()
    for damaged in (whole[:-9], whole.replace(b'"format": 1', b'"format": 2'), b"[]"):
        file.path.write_bytes(damaged)
        assert isinstance(watched.table().find(shown, NOW), Caller)
        assert str(file.path) in watched.failed
        with pytest.raises(StoreError, match=r"keys\.json"):
            made(tmp_path, "another")
        assert file.path.read_bytes() == damaged
    file.path.write_bytes(whole)
    assert isinstance(watched.table().find(shown, NOW), Caller)
    assert watched.failed == ""
