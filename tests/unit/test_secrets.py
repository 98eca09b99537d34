"""The master key's file: made once, whole, by whoever comes first."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from relay.base.secrets import SecretsError, Vault


def test_of_many_that_start_together_all_use_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.key"
    together = threading.Barrier(8)
    got: list[bytes] = []

    def start() -> None:
        together.wait()
        got.append(Vault.load_or_make(path).mac("x", b"y"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(got) == 8
    assert len(set(got)) == 1
    assert [p.name for p in path.parent.iterdir()] == ["master.key"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_token_has_one_spelling_and_every_other_is_wrong(tmp_path: Path) -> None:
    vault = Vault.load_or_make(tmp_path / "master.key")
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
        Vault.load_or_make(path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    Vault.load_or_make(path)
