"""The master key's file: made once, whole, by whoever comes first."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from relay.base.secrets import SecretsError, Vault


def test_of_many_that_start_together_all_use_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    together = threading.Barrier(8)
    made: list[str] = []
    got: list[str] = []

    def start() -> None:
        together.wait()
        with contextlib.suppress(SecretsError):
            made.append(Vault.make(path).key_id)
        got.append(Vault.load(path).key_id)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(got) == 8
    assert set(got) == set(made)
    assert len(made) == 1
    assert [p.name for p in path.parent.iterdir()] == ["master.key"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_token_has_one_spelling_and_every_other_is_wrong(tmp_path: Path) -> None:
    vault = Vault.make(tmp_path / "master.key")
    for plain in (b"1\n2\nbob@sink.test", b"1\n2\nbobby@sink.test", b"x"):
        token = vault.token("unsubscribe", plain)
        assert vault.read_token("unsubscribe", token) == plain
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        others = {token[:-1] + c for c in letters} | {token[:5] + c + token[6:] for c in letters}
        others |= {token + "=", token + "==", token + "A", token[:-1], token[:7] + "!" + token[7:], token + "\n", "é"}
        assert [t for t in others - {token} if vault.read_token("unsubscribe", t) is not None] == []
        assert vault.read_token("tracking", token) is None


def test_a_key_that_can_not_be_kept_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("relay.base.secrets.os.fsync", full)
    path = tmp_path / "master.key"
    with pytest.raises(SecretsError, match="No space left"):
        Vault.make(path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    Vault.make(path)


def test_a_previous_key_reads_what_it_made_and_makes_nothing(tmp_path: Path) -> None:
    old, new = Vault.make(tmp_path / "old.key"), Vault.make(tmp_path / "new.key")
    both = Vault.load(tmp_path / "new.key", [tmp_path / "old.key"])
    assert both.token("x", b"y") == new.token("x", b"y")
    assert both.mac("x", b"y") == new.mac("x", b"y")
    assert both.key_id == new.key_id
    assert new.open(both.seal(b"plain", "a"), "a") == b"plain"
    assert both.open(old.seal(b"plain", "a"), "a") == b"plain"
    assert both.read_token("x", old.token("x", b"y")) == b"y"
    assert new.read_token("x", old.token("x", b"y")) is None
    assert both.macs("x", b"y") == [new.mac("x", b"y"), old.mac("x", b"y")]
    assert both.signer("s").loads(old.signer("s").dumps({"a": 1})) == {"a": 1}
    assert new.signer("s").loads(both.signer("s").dumps({"a": 1})) == {"a": 1}
    with pytest.raises(SecretsError):
        both.open(old.seal(b"plain", "a"), "b")


def test_a_piece_of_a_mac_too_short_to_mean_anything_is_wrong(tmp_path: Path) -> None:
    vault = Vault.make(tmp_path / "master.key")
    right = vault.mac("x", b"y")
    assert vault.is_mac("x", b"y", right)
    assert vault.is_mac("x", b"y", right[:9])
    for wrong in (b"", right[:7], right + b"0", right[:8] + b"\0", vault.mac("z", b"y")):
        assert not vault.is_mac("x", b"y", wrong)


def test_a_previous_key_that_is_none_is_named(tmp_path: Path) -> None:
    Vault.make(tmp_path / "new.key")
    (tmp_path / "junk.key").write_text("not a key")
    (tmp_path / "junk.key").chmod(0o600)
    with pytest.raises(SecretsError, match=r"previous master key .*junk\.key: not a master key"):
        Vault.load(tmp_path / "new.key", [tmp_path / "junk.key"])
    with pytest.raises(SecretsError, match="is there already"):
        Vault.make(tmp_path / "new.key")
