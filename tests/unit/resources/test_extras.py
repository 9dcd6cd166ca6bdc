from __future__ import annotations

import json

import pytest

from orchestify.resources.extras import install_command, missing_extra

CHECKOUT = {"url": "file:///home/a%20b/orchestify", "dir_info": {}}
EDITABLE = {"url": "file:///src/orchestify", "dir_info": {"editable": True}}
WHEEL = {
    "url": "file:///tmp/orchestify-0.1.0-py3-none-any.whl",
    "archive_info": {"hash": "sha256=0"},
}
GIT = {
    "url": "https://example.org/orchestify.git",
    "vcs_info": {"vcs": "git", "commit_id": "abc", "requested_revision": "main"},
}
AT_COMMIT = {"url": "https://example.org/o.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (CHECKOUT, 'pip install "/home/a b/orchestify[server]"'),
        (EDITABLE, 'pip install -e "/src/orchestify[server]"'),
        (
            WHEEL,
            'pip install "orchestify[server] @ file:///tmp/orchestify-0.1.0-py3-none-any.whl"',
        ),
        (GIT, 'pip install "orchestify[server] @ git+https://example.org/orchestify.git@main"'),
        (AT_COMMIT, 'pip install "orchestify[server] @ git+https://example.org/o.git@abc"'),
    ],
    ids=["checkout", "editable", "wheel", "branch", "commit"],
)
def test_an_extra_comes_from_where_the_package_came_from(origin: object, command: str) -> None:
    assert install_command("server", json.dumps(origin)) == command


@pytest.mark.parametrize("text", [None, "", "no JSON", "[]", "{}", '{"url": 1}'])
def test_without_an_origin_that_can_be_read_it_comes_from_the_index(text: str | None) -> None:
    assert install_command("redis", text) == 'pip install "orchestify[redis]"'


def test_the_error_says_who_needs_what_and_names_the_extra() -> None:
    said = str(missing_extra("a page with charts needs pygal", "html"))
    assert said.startswith("a page with charts needs pygal: pip install ")
    assert said.endswith('[html]"')
