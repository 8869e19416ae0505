"""Who may talk to the server: decisions alone. Over HTTP: test_admin.py."""

from __future__ import annotations

import pytest

from inference.errors import ConfigError
from proxy.auth import AccessPolicy, access_policy, check_access, check_bind, host_name
from proxy.callers import Caller, ScopedKey
from proxy.config import Secret, ServerConfig
from proxy.errors import Forbidden, Unauthorized
from proxy.money_config import digest_of
from proxy.run_tokens import RunTerms, RunTokens

LOCAL = access_policy(ServerConfig(allowed_hosts=("gpu.lan",)))
KEYED = access_policy(ServerConfig(api_keys=(Secret("sk-first"), Secret("sk-second"))))
HOST = (b"host", b"127.0.0.1:8080")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8", "LOCALHOST"])
def test_loopback_needs_no_key(host: str) -> None:
    check_bind(host, ())


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.5", "example.com", "localhost.evil.example"]
)
def test_other_binds_need_a_key(host: str) -> None:
    check_bind(host, ("sk-x",))
    with pytest.raises(ConfigError, match="without an API key"):
        check_bind(host, ())


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b"localhost", "localhost"),
        (b"LocalHost:8080", "localhost"),
        (b"[::1]:80", "::1"),
        (b"::1", "::1"),
        (b"gpu.lan.", "gpu.lan"),
        (b"127.0.0.1:1:2", "127.0.0.1:1:2"),
        (b"", ""),
    ],
)
def test_host_name(header: bytes, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize("host", [b"127.0.0.1", b"localhost:1", b"[::1]:8080", b"GPU.lan:8080"])
def test_own_names_pass(host: bytes) -> None:
    check_access(LOCAL, "/", [(b"host", host)])


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b"evil.example"],
        [b""],
        [b"127.0.0.1.evil.example"],
        [b"192.168.0.1"],
        [b"localhost", b"localhost"],
        [b"a\xff"],
    ],
)
def test_other_names_are_refused(hosts: list[bytes]) -> None:
    with pytest.raises(Forbidden):
        check_access(LOCAL, "/health", [(b"host", host) for host in hosts])


def test_wildcard_bind_takes_addresses_but_no_names() -> None:
    policy = access_policy(ServerConfig(host="0.0.0.0", api_keys=(Secret("k"),)))
    key = (b"x-api-key", b"k")
    check_access(policy, "/", [(b"host", b"192.168.1.5:8080"), key])
    check_access(policy, "/", [(b"host", b"[fe80::1]:8080"), key])
    with pytest.raises(Forbidden):
        check_access(policy, "/", [(b"host", b"rebound.example"), key])


def test_bind_address_is_a_good_host() -> None:
    policy = access_policy(ServerConfig(host="10.0.0.7", api_keys=(Secret("k"),)))
    check_access(policy, "/health", [(b"host", b"10.0.0.7:8080")])


@pytest.mark.parametrize("origin", [b"http://127.0.0.1:8080", b"https://127.0.0.1:8080"])
def test_same_origin_passes(origin: bytes) -> None:
    check_access(LOCAL, "/", [HOST, (b"origin", origin)])


@pytest.mark.parametrize(
    "origin",
    [
        b"http://evil.example",
        b"null",
        b"",
        b"http://localhost:3000",
        b"http://127.0.0.1",
        b"file://127.0.0.1:8080",
    ],
)
def test_other_origins_are_refused(origin: bytes) -> None:
    with pytest.raises(Forbidden):
        check_access(LOCAL, "/", [HOST, (b"origin", origin)])


def test_one_good_origin_does_not_excuse_another() -> None:
    with pytest.raises(Forbidden):
        check_access(
            LOCAL, "/", [HOST, (b"origin", b"http://127.0.0.1:8080"), (b"origin", b"http://evil.example")]
        )


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer sk-first"),
        (b"authorization", b"bearer  sk-second "),
        (b"x-api-key", b"sk-second"),
    ],
)
def test_any_configured_key_opens(header: tuple[bytes, bytes]) -> None:
    check_access(KEYED, "/v1/models", [HOST, header])


def test_a_second_header_with_the_key_opens_too() -> None:
    check_access(
        KEYED, "/v1/models", [HOST, (b"authorization", b"Bearer other"), (b"x-api-key", b"sk-first")]
    )


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic sk-first")],
        [(b"authorization", b"sk-first")],
        [(b"authorization", b"Bearer sk-firs")],
        [(b"authorization", b"Bearer sk-first2")],
        [(b"authorization", b"Bearer SK-FIRST")],
        [(b"authorization", b"Bearer sk-first\xff")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"<secret>")],
        [(b"cookie", b"key=sk-first")],
    ],
)
def test_wrong_keys(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorized) as caught:
        check_access(KEYED, "/v1/models", [HOST, *headers])
    assert "sk-" not in caught.value.message


def test_health_needs_no_key_but_a_good_host() -> None:
    check_access(KEYED, "/health", [HOST])
    with pytest.raises(Forbidden):
        check_access(KEYED, "/health", [(b"host", b"evil.example")])


def test_without_keys_any_key_is_ignored() -> None:
    check_access(LOCAL, "/v1/models", [HOST, (b"authorization", b"Bearer whatever")])


def test_policy_does_not_show_its_keys() -> None:
    assert "sk-" not in repr(KEYED)


# --- scoped keys and runs ------------------------------------------------------------------------

CI = ScopedKey(Caller("ci", models=("echo",), is_admin=False), digest_of(b"key-of-ci"))
BOSS = ScopedKey(Caller("boss", is_admin=True), digest_of(b"key-of-boss"))
SCOPED = access_policy(ServerConfig(api_keys=(Secret("sk-first"),)), (CI, BOSS))


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [HOST, (b"authorization", f"Bearer {key}".encode())]


@pytest.mark.parametrize(
    ("key", "name", "is_admin"),
    [("sk-first", "", True), ("key-of-ci", "ci", False), ("key-of-boss", "boss", True)],
)
def test_a_key_tells_who_asks(key: str, name: str, is_admin: bool) -> None:
    caller = check_access(SCOPED, "/v1/chat/completions", bearer(key))
    assert (caller.name, caller.is_admin) == (name, is_admin)


def test_scoped_keys_alone_make_keys_needed() -> None:
    policy = access_policy(ServerConfig(), (CI,))
    with pytest.raises(Unauthorized):
        check_access(policy, "/v1/models", [HOST])


@pytest.mark.parametrize("path", ["/v1/models", "/v1/messages", "/r/x/v1/responses", "/v1", "/health"])
def test_a_scoped_key_may_ask_models(path: str) -> None:
    check_access(SCOPED, path, bearer("key-of-ci"))


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/api/state",
            "/api/runs",
            "/api/models/echo/load",
            "/metrics",
            "/ui/",
            "/",
            "/v1x",
            "/r/x/api/state",
        ),
        *("/r/v1/../api/state", "//v1/models", "/r/a/b/v1/models", "/api/v1/models"),
    ],
)
def test_a_scoped_key_may_do_nothing_else(path: str) -> None:
    with pytest.raises(Forbidden):
        check_access(SCOPED, path, bearer("key-of-ci"))
    check_access(SCOPED, path, bearer("key-of-boss"))
    check_access(SCOPED, path, bearer("sk-first"))


@pytest.mark.parametrize("policy", [LOCAL, SCOPED], ids=["no keys", "keys"])
def test_a_runs_token_is_a_key_for_that_run(policy: AccessPolicy) -> None:
    runs = RunTokens()
    token = runs.mint("night", RunTerms()).token
    for path in ("/v1/messages", "/r/night/v1/messages"):
        assert check_access(policy, path, bearer(token), runs).run == "night"
    for path in ("/r/day/v1/messages", "/api/state", "/api/runs", "/metrics"):
        with pytest.raises(Forbidden):
            check_access(policy, path, bearer(token), runs)


@pytest.mark.parametrize("policy", [LOCAL, SCOPED], ids=["no keys", "keys"])
def test_a_token_that_is_no_longer_good_lifts_no_limits(policy: AccessPolicy) -> None:
    runs = RunTokens()
    token = runs.mint("night", RunTerms()).token
    runs.end("night")
    for presented in (token, "hotseat-run-", f"{token}0"):
        with pytest.raises(Unauthorized) as caught:
            check_access(policy, "/v1/messages", bearer(presented), runs)
        assert token.rsplit("-", 1)[1] not in caught.value.message


def test_an_announced_run_is_not_for_other_scoped_keys() -> None:
    runs = RunTokens()
    runs.mint("night", RunTerms())
    with pytest.raises(Forbidden, match="its own token"):
        check_access(SCOPED, "/r/night/v1/messages", bearer("key-of-ci"), runs)
    check_access(SCOPED, "/r/night/v1/messages", bearer("sk-first"), runs)
    check_access(SCOPED, "/r/free/v1/messages", bearer("key-of-ci"), runs)
