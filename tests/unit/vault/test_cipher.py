from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from orchestify.errors import VaultError
from orchestify.vault import Cipher, new_encryption_key
from tests.vaults import FOREIGN, NEW, OLD, environ, fingerprint

SECRET = "sk-made-up-0123456789"
OLD_AND_NEW = Cipher.from_env(environ(NEW, OLD))
OLD_ALONE = Cipher.from_env(environ(OLD))
OLD_RAW = "8fc045c10a10c86d5adf9c818787c9e127521f7189c10c1ba264da2ed73e666d"


def refused(variables: dict[str, str]) -> str:
    with pytest.raises(VaultError) as caught:
        Cipher.from_env(variables)
    return str(caught.value)


def test_what_is_encrypted_is_what_fernet_reads() -> None:
    text = OLD_ALONE.encrypt(SecretStr(SECRET))
    assert Fernet(OLD).decrypt(text).decode() == SECRET
    assert OLD_ALONE.decrypt(text).get_secret_value() == SECRET


def test_the_first_key_encrypts_and_each_decrypts() -> None:
    assert Fernet(NEW).decrypt(OLD_AND_NEW.encrypt(SECRET)).decode() == SECRET
    assert OLD_AND_NEW.decrypt(OLD_ALONE.encrypt(SECRET)).get_secret_value() == SECRET


def test_rotation_puts_a_text_under_the_newest_key() -> None:
    text = OLD_ALONE.encrypt(SECRET)
    rotated = OLD_AND_NEW.rotate(text)
    assert not OLD_AND_NEW.is_newest(text)
    assert OLD_AND_NEW.is_newest(rotated)
    assert Fernet(NEW).decrypt(rotated).decode() == SECRET


def test_a_text_under_another_key_is_refused() -> None:
    text = Cipher.from_env(environ(FOREIGN)).encrypt(SECRET)
    assert OLD_AND_NEW.key_of(text) is None
    assert not OLD_AND_NEW.is_newest(text)
    with pytest.raises(VaultError, match=r"^no encryption key that is set opens it$"):
        OLD_AND_NEW.decrypt(text)
    with pytest.raises(VaultError, match=r"^no encryption key that is set opens it$"):
        OLD_AND_NEW.rotate(text)


@pytest.mark.parametrize("text", ["", "no fernet", "gAAAAA", "schlüssel", "gAAAAAé"])
def test_what_is_no_ciphertext_is_refused(text: str) -> None:
    with pytest.raises(VaultError):
        OLD_ALONE.decrypt(text)
    assert OLD_ALONE.key_of(text) is None


def test_a_changed_ciphertext_is_refused() -> None:
    text = OLD_ALONE.encrypt(SECRET)
    with pytest.raises(VaultError):
        OLD_ALONE.decrypt(text[:40] + text[40:60].swapcase() + text[60:])


def test_keys_come_from_three_variables_in_order() -> None:
    cipher = Cipher.from_env(
        {"LLM_ENCRYPTION_KEY": FOREIGN, "ENCRYPTION_KEY": OLD, **environ(NEW, OLD)}
    )
    assert [key.places for key in cipher.keys] == [
        ("ORCHESTIFY_ENCRYPTION_KEYS, key 1",),
        ("ORCHESTIFY_ENCRYPTION_KEYS, key 2", "ENCRYPTION_KEY, key 1"),
        ("LLM_ENCRYPTION_KEY, key 1",),
    ]


@pytest.mark.parametrize("variable", ["ENCRYPTION_KEY", "LLM_ENCRYPTION_KEY"])
def test_the_seeds_variables_are_enough(variable: str) -> None:
    cipher = Cipher.from_env({variable: OLD})
    assert cipher.decrypt(OLD_ALONE.encrypt(SECRET)).get_secret_value() == SECRET


@pytest.mark.parametrize("variable", ["ENCRYPTION_KEY", "LLM_ENCRYPTION_KEY"])
@pytest.mark.parametrize(
    "key",
    [
        "+/+/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "-_-_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "+/+/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "-_-_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ],
)
def test_the_seeds_variables_take_any_base64(variable: str, key: str) -> None:
    written_by_another = Fernet("-_-_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").encrypt(b"sk-1")
    cipher = Cipher.from_env({variable: key})
    assert cipher.decrypt(written_by_another.decode()).get_secret_value() == "sk-1"


@pytest.mark.parametrize("between", [",", " ", "\n", " , ", ",,"])
def test_keys_stand_between_commas_and_blanks(between: str) -> None:
    cipher = Cipher.from_env({"ORCHESTIFY_ENCRYPTION_KEYS": f" {NEW}{between}{OLD}\n"})
    assert cipher.fingerprints() == OLD_AND_NEW.fingerprints()


def test_no_key_at_all_is_told_with_what_to_do() -> None:
    assert refused({"ENCRYPTION_KEY": " "}) == (
        "no encryption key is set; put it into ORCHESTIFY_ENCRYPTION_KEYS "
        "(`orchestify keys generate` makes one for a new vault)"
    )


@pytest.mark.parametrize(
    "key", ["passphrase", OLD[:-1], OLD[:-2] + "==", f"{OLD}A", "!" + OLD, "é" * 43 + "="]
)
def test_what_is_no_key_is_named_and_not_shown(key: str) -> None:
    assert refused(environ(NEW, key)) == (
        "ORCHESTIFY_ENCRYPTION_KEYS, key 2, is not 32 bytes in urlsafe base64; "
        "`orchestify keys generate` makes one"
    )


def test_a_cipher_shows_no_key() -> None:
    shown = f"{OLD_AND_NEW!r} {OLD_AND_NEW.keys!r} {OLD_AND_NEW.keys[0]}"
    assert NEW not in shown
    assert OLD not in shown


def test_fingerprints_of_encryption_keys_are_the_same_everywhere() -> None:
    assert OLD_AND_NEW.fingerprints() == Cipher.from_env(environ(NEW, OLD)).fingerprints()
    assert OLD_AND_NEW.fingerprints()[1:] == OLD_ALONE.fingerprints()
    assert len({*OLD_AND_NEW.fingerprints()}) == 2


def test_a_fingerprint_needs_the_encryption_key() -> None:
    assert OLD_ALONE.fingerprint_of(SECRET) == fingerprint(OLD_RAW, SECRET)
    assert OLD_ALONE.fingerprint_of(SecretStr(SECRET)) == OLD_ALONE.fingerprint_of(SECRET)
    assert OLD_ALONE.fingerprint_of(SECRET) != OLD_AND_NEW.fingerprint_of(SECRET)


def test_a_generated_key_is_one() -> None:
    assert new_encryption_key() != new_encryption_key()
    assert len(Cipher.from_env({"ENCRYPTION_KEY": new_encryption_key()}).keys) == 1


def test_a_hosts_own_encryption_key_of_another_kind_is_left_alone_beside_ours() -> None:
    assert len(Cipher.from_env({"ENCRYPTION_KEY": "no-fernet-key", **environ(NEW)}).keys) == 1
