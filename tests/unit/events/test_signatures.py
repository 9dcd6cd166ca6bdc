from __future__ import annotations

import base64

import pytest

from orchestify.events.signatures import secret_bytes, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_signature_is_the_specifications_example() -> None:
    signed = signature(
        secret_bytes(SECRET),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_prefix_may_lack() -> None:
    assert secret_bytes(SECRET.removeprefix("whsec_")) == secret_bytes(SECRET)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "my-secret",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSé",
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^expected whsec_ and 24 to 64 bytes in base64$"):
        secret_bytes(secret)
