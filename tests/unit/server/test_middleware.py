"""Bodies on their way to an endpoint: counted, and decompressed within the limit."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from orchestify.server.middleware import BodyLimit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"the body of a call " * 50


async def body_of(
    *pieces: bytes, encoding: str = "", limit: int = 1000, path: str = "/v1/chat/completions"
) -> bytes:
    """What an endpoint reads of a body that comes in pieces."""
    read = []
    waiting = list(pieces)

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        read.append(await Request(scope, receive).body())

    async def receive() -> Message:
        piece = waiting.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(waiting)}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    headers = [(b"content-encoding", encoding.encode())] if encoding else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await BodyLimit(endpoint, limit)(scope, receive, send)
    return read[0]


RAW_DEFLATE = zlib.compressobj(wbits=-15)
COMPRESSED = [
    pytest.param("gzip", gzip.compress(TEXT), id="gzip"),
    pytest.param("GZip", gzip.compress(TEXT), id="gzip in other letters"),
    pytest.param("deflate", zlib.compress(TEXT), id="deflate"),
    pytest.param("deflate", RAW_DEFLATE.compress(TEXT) + RAW_DEFLATE.flush(), id="raw deflate"),
    pytest.param("zstd", zstd.compress(TEXT), id="zstd"),
    pytest.param("identity", TEXT, id="identity"),
]


@pytest.mark.parametrize(("encoding", "body"), COMPRESSED)
async def test_a_compressed_body_is_read(encoding: str, body: bytes) -> None:
    assert await body_of(body, encoding=encoding) == TEXT


@pytest.mark.parametrize(("encoding", "body"), COMPRESSED)
async def test_its_pieces_may_be_cut_anywhere(encoding: str, body: bytes) -> None:
    assert await body_of(body[:2], body[2:9], body[9:], b"", encoding=encoding) == TEXT


@pytest.mark.parametrize(("encoding", "body"), COMPRESSED)
async def test_the_limit_is_of_what_is_decompressed(encoding: str, body: bytes) -> None:
    with pytest.raises(HTTPException) as refused:
        await body_of(body, encoding=encoding, limit=len(TEXT) - 1)
    assert refused.value.status_code == 413
    assert await body_of(body, encoding=encoding, limit=len(TEXT)) == TEXT


@pytest.mark.parametrize(("pack", "encoding"), [(gzip.compress, "gzip"), (zstd.compress, "zstd")])
async def test_streams_behind_each_other_are_one_body(
    pack: Callable[[bytes], bytes], encoding: str
) -> None:
    whole = b"".join(pack(TEXT[at : at + 5]) for at in range(0, len(TEXT), 5))
    assert await body_of(whole, encoding=encoding) == TEXT
    assert (
        await body_of(*(whole[at : at + 3] for at in range(0, len(whole), 3)), encoding=encoding)
        == TEXT
    )
    with pytest.raises(HTTPException) as refused:
        await body_of(whole, encoding=encoding, limit=len(TEXT) - 1)
    assert refused.value.status_code == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
async def test_what_follows_the_end_of_a_body_is_refused(encoding: str) -> None:
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
    with pytest.raises(HTTPException, match=encoding) as refused:
        await body_of(packed[encoding](TEXT) + b"more", encoding=encoding)
    assert refused.value.status_code == 400


async def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(200 << 20))
    with pytest.raises(HTTPException) as refused:
        await body_of(bomb, encoding="gzip", limit=1 << 20)
    assert refused.value.status_code == 413


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "none"])
async def test_another_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(HTTPException, match="gzip, deflate or zstd") as refused:
        await body_of(TEXT, encoding=encoding)
    assert refused.value.status_code == 415


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("keep", [5, -3])
async def test_a_broken_body_is_told_as_that(encoding: str, keep: int) -> None:
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
    with pytest.raises(HTTPException, match=encoding) as refused:
        await body_of(packed[encoding](TEXT)[:keep], encoding=encoding)
    assert refused.value.status_code == 400


async def test_other_requests_have_at_most_a_mebibyte() -> None:
    large = bytes((1 << 20) + 1)
    with pytest.raises(HTTPException):
        await body_of(large, limit=2 << 20, path="/api/v1/tokens")
    assert len(await body_of(large, limit=2 << 20)) == len(large)
