"""Where a service may listen, and what it may be asked for."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from ferjax.errors import FerjaxError
from ferjax.serve import addresses
from ferjax.serve.settings import Limits, Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    addresses.check_public(host, has_token=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
@pytest.mark.parametrize("said", [{}, {"is_public": True}, {"without_token": True}])
def test_other_machines_need_a_token(host: str, said: dict[str, bool]) -> None:
    with pytest.raises(FerjaxError, match=r"expected --token-file .*, got --host .* without it"):
        addresses.check_public(host, has_token=False, **said)
    addresses.check_public(host, has_token=True, **said)


def test_anyone_may_ask_where_that_is_said_twice() -> None:
    addresses.check_public("0.0.0.0", has_token=False, is_public=True, without_token=True)


def test_an_address_that_is_none() -> None:
    with pytest.raises(FerjaxError, match="expected an address of this machine for --host"):
        addresses.check_public("no host", has_token=False)


def test_listening() -> None:
    with addresses.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert addresses.url(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(FerjaxError, match=f"cannot listen at 127.0.0.1, port {port}: Address"):
            addresses.listen("127.0.0.1", port)


def test_names() -> None:
    own = frozenset({"localhost", "127.0.0.1", "::1"})
    assert addresses.own_names("127.0.0.1", []) == own
    assert addresses.own_names("127.0.0.1", ["A.org"]) == own | {"a.org"}
    assert addresses.own_names("0.0.0.0", []) == {"*"}
    assert addresses.own_names("0.0.0.0", ["a.org"]) == own | {"a.org", "0.0.0.0"}
    assert addresses.own_names("0.0.0.0", ["*"]) > {"*"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "expected `workers` of at least 1, got 0"),
        ({"threads": 0}, "expected `threads` of at least 1, got 0"),
        ({"batch": 0}, "expected `batch` of at least 1, got 0"),
        ({"port": 65536}, "expected a port from 0 to 65535, got 65536"),
        ({"cors_origins": ("https://a.org/",)}, "expected an origin such as https://example.org"),
        ({"cors_origins": ("*",)}, r"got '\*'"),
    ],
)
def test_settings_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(FerjaxError, match=message):
        Settings(**options)  # type: ignore[arg-type]


def test_limits_out_of_range() -> None:
    with pytest.raises(FerjaxError, match="expected a positive number for `max_body`, got 0"):
        Limits(max_body=0)


def test_bytes_of_all_bodies() -> None:
    assert [Limits(max_body=size << 20).held >> 20 for size in (1, 32, 64)] == [256, 256, 512]
    assert Limits(max_held=1000).held == 1000


def test_the_page_is_shown_where_no_token_is_asked_for() -> None:
    assert Settings().has_page
    assert not Settings(token_file="t").has_page
    assert Settings(token_file="t", page=True).has_page
    assert not Settings(page=False).has_page
