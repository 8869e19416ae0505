"""models.toml -> Config: what is accepted, what is refused, and how a refusal reads."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.chat import Sampling
from inference.errors import ConfigError
from proxy.config import Config, Limits, Secret, find_config, load_config
from proxy.model_files import find_source, hotseat_home, state_home
from proxy.units import format_bytes, parse_bytes, parse_duration_s

SHIPPED = Path(__file__).parents[2] / "models.toml"
CANARY = "canary-0123456789"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    return tmp_path


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    path = folder / "models.toml"
    path.write_text(text)
    return load_config(path, {"HOTSEAT_HOME": str(folder / "home"), **(environ or {})})


# --- accepted ----------------------------------------------------------------------------------


def test_empty_file_gives_the_defaults(folder: Path) -> None:
    config = load(folder, "")
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8080)
    assert config.server.api_keys == ()
    assert config.server.limits == Limits()
    assert config.memory.budget_bytes is None
    assert dict(config.models) == {}
    assert not config.offline


def test_units_reach_the_limits(folder: Path) -> None:
    text = (
        '[server.limits]\nmax_body = "12MiB"\nmax_wait = 2.5\nrequest_timeout = "1h30m"\nmax_queue_total = 7'
    )
    limits = load(folder, text).server.limits
    assert limits == Limits(
        max_body_bytes=12 * 2**20, max_wait_s=2.5, request_timeout_s=5400.0, max_queue_total=7
    )


def test_every_limit_can_be_set(folder: Path) -> None:
    keys = [field.name.removesuffix("_s").removesuffix("_bytes") for field in dataclasses.fields(Limits)]
    text = "[server.limits]\n" + "\n".join(f"{key} = 4242" for key in keys)
    limits = load(folder, text).server.limits
    assert set(dataclasses.asdict(limits).values()) == {4242}


def test_defaults_lie_under_each_model(folder: Path) -> None:
    text = """
[defaults]
n_ctx = 1024
idle_unload = "30m"
sampling = { top_p = 0.5, top_k = 3 }
[models.a]
path = "x.gguf"
[models.b]
path = "x.gguf"
n_ctx = 2048
idle_unload = "never"
sampling.top_k = 7
"""
    config = load(folder, text)
    a, b = config.models["a"].spec, config.models["b"].spec
    assert (a.n_ctx, a.idle_unload_s, a.sampling) == (1024, 1800.0, Sampling(top_p=0.5, top_k=3))
    assert (b.n_ctx, b.idle_unload_s, b.sampling) == (2048, None, Sampling(top_p=0.5, top_k=7))


def test_all_of_sampling_but_what_one_request_is_about_has_a_default(folder: Path) -> None:
    settable = set(Sampling.__struct_fields__) - {"logit_bias", "logprobs"}
    keys = ", ".join(f"{key} = 1" for key in settable)
    config = load(folder, f'[models.a]\npath = "x.gguf"\nsampling = {{ {keys} }}')
    expected = msgspec.structs.replace(Sampling(), **dict.fromkeys(settable, 1))
    assert config.models["a"].spec.sampling == expected
    wrong = {"dry_multiplier": -0.1, "dry_base": 0.5, "dry_allowed_length": -1, "dry_penalty_last_n": -2}
    for name, value in wrong.items():
        with pytest.raises(ConfigError, match=name):
            load(folder, f'[models.a]\npath = "x.gguf"\nsampling = {{ {name} = {value} }}')


def test_overrides_win(folder: Path) -> None:
    path = folder / "models.toml"
    path.write_text('[server]\nport = 1\n[memory]\nbudget = "1GiB"')
    config = load_config(path, {}, host="::1", port=0, budget_bytes=300_000_000, offline=True)
    assert (config.server.host, config.server.port) == ("::1", 0)
    assert config.memory.budget_bytes == 300_000_000
    assert config.offline


def test_what_operating_needs(folder: Path) -> None:
    config = load(
        folder,
        """
[server]
watch = false
[models.a]
path = "x.gguf"
preload = true
[models.b]
path = "x.gguf"
[roles]
small = "a"
background = ["claude-haiku-*", "small_model"]
""",
    )
    assert not config.server.watch
    assert [entry.spec.preload for entry in config.models.values()] == [True, False]
    assert config.background == ("claude-haiku-*", "small_model")
    assert dict(config.roles) == {"small": "a"}
    assert load(folder, "").server.watch


def test_roles_are_canonical_and_may_name_a_route(folder: Path) -> None:
    text = """
[models.a]
path = "x.gguf"
aliases = ["b"]
[providers.p]
base_url = "https://example.org/v1/"
[routes."x/y"]
provider = "p"
model = "y"
[roles]
main = "b"
small = "x/y"
"""
    config = load(folder, text)
    assert dict(config.roles) == {"main": "a", "small": "x/y"}
    assert config.providers["p"].base_url == "https://example.org/v1"


def test_config_is_frozen(folder: Path) -> None:
    config = load(folder, '[models.a]\npath = "x.gguf"')
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.offline = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.models["b"] = config.models["a"]  # type: ignore[index]


def test_a_key_may_cross_loopback_in_clear_text(folder: Path) -> None:
    for host in ("localhost", "127.0.0.1:9000", "[::1]"):
        config = load(folder, f'[providers.p]\nbase_url = "http://{host}/v1"\napi_key_env = "K"')
        assert config.providers["p"].api_key is None


def test_budget_auto_overrides_the_file(folder: Path) -> None:
    path = folder / "models.toml"
    path.write_text('[memory]\nbudget = "1GiB"')
    assert load_config(path, {}).memory.budget_bytes == 2**30
    assert load_config(path, {}, budget_bytes="auto").memory.budget_bytes is None


def test_which_file_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"HOME": str(folder / "home")}
    monkeypatch.chdir(folder)
    assert find_config(Path("x.toml"), environ) == Path("x.toml")
    assert find_config(None, environ) == SHIPPED
    user = folder / "home/.config/hotseat/models.toml"
    user.parent.mkdir(parents=True)
    user.touch()
    assert find_config(None, environ) == user
    (folder / "models.toml").touch()
    assert find_config(None, environ) == Path("models.toml")


# --- refused -----------------------------------------------------------------------------------

MODEL = '[models.a]\npath = "x.gguf"\n'
PROVIDER = '[providers.p]\nbase_url = "https://example.org"\n'

REFUSED = {
    "not toml": ("[server\n", ["not valid TOML", "line 1"]),
    "nested too deeply": ("a = " + "[" * 100_000, ["not valid TOML"]),
    "unknown section": ("[severs]\n", ["severs", "unknown key", "did you mean 'server'"]),
    "unknown key": ("[server]\nprot = 1", [":2:", "server.prot", "did you mean 'port'"]),
    "unknown key of a model": (f"{MODEL}n_ctxx = 1", [":3:", "models.a.n_ctxx", "'n_ctx'"]),
    "unknown key of a model called as a section": (
        '[models.sampling]\npath = "x.gguf"\nslot = 1',
        ["models.sampling.slot", "'slots'"],
    ),
    "unknown key far from any": (
        "[memory]\nzzz = 1",
        ["memory.zzz", "known: device, budget, reserve, kv_store"],
    ),
    "prices of a provider": (
        '[providers.p]\nbase_url = "https://p.example"\nprices = {}',
        ["providers.p.prices", "[prices]", "remove it"],
    ),
    "kv store without bounds": ("[memory]\nkv_store = true", ["memory.kv_store = true", "limit", "false"]),
    "kv store of a wrong unit": (
        '[memory]\nkv_store = { limit = "20 parsecs" }',
        ["memory.kv_store.limit", "20 parsecs"],
    ),
    "model key among defaults": ('[defaults]\nsource = "x"', ["defaults.source", '[models."NAME"]']),
    "port too high": ("[server]\nport = 65536", ["server.port = 65536", "65535 or less"]),
    "port as text": ('[server]\nport = "80"', ['server.port = "80"', "a whole number"]),
    "port as a boolean": ("[server]\nport = true", ["server.port = true", "a whole number"]),
    "host with scheme": ('[server]\nhost = "http://x"', ["server.host", "a host name"]),
    "bad byte unit": ('[memory]\nbudget = "28G"', ['memory.budget = "28G"', "GiB"]),
    "bytes as a boolean": ("[memory]\nbudget = true", ["memory.budget = true", '"28GiB"']),
    "negative bytes": ("[memory]\nreserve = -1", ["memory.reserve = -1", "0"]),
    "bad duration": ('[server.limits]\nmax_wait = "10 parsecs"', ["server.limits.max_wait", '"30m"']),
    "infinite duration": ("[server.limits]\nmax_wait = inf", ["server.limits.max_wait", '"30m"']),
    "nan duration": ("[server.limits]\nmax_wait = nan", ["server.limits.max_wait", '"30m"']),
    "zero keepalive": ("[server.limits]\nkeepalive = 0", ["keepalive = 0", "more than 0"]),
    "unknown device": ('[memory]\ndevice = "gpu"', ['memory.device = "gpu"', '"cuda:0"']),
    "unknown engine": (f'{MODEL}engine = "vllm"', ['engine = "vllm"', "'llama-cpp-python'"]),
    "unknown kv type": (f'{MODEL}kv_type = "q3"', ['kv_type = "q3"', "'q8_0'"]),
    "n_gpu_layers as a word": (f'{MODEL}n_gpu_layers = "most"', ['"most"', '"all"']),
    "zero slots": (f"{MODEL}slots = 0", ["models.a.slots = 0", "1 or more"]),
    "absurd n_ctx": (f"{MODEL}n_ctx = 99999999999", ["models.a.n_ctx", "or less"]),
    "sampling out of range": (f"{MODEL}sampling = {{ top_p = 1.5 }}", ["models.a.sampling.top_p = 1.5"]),
    "n_ubatch beyond n_batch": (f"{MODEL}n_ubatch = 1024", [":3:", "n_ubatch = 1024", "which is 512"]),
    "no file named": ("[models.a]\nslots = 1", ["models.a", "source and path", "neither"]),
    "two files named": (f'{MODEL}source = "hf:a/b/c"', ["models.a", "source and path", "both"]),
    "unknown source": ('[models.a]\nsource = "s3:a/b"', ['source = "s3:a/b"', "hf:owner/repo/file.gguf"]),
    "source that climbs": ('[models.a]\nsource = "hf:../../etc"', ["models.a.source", "expected"]),
    "source that climbs within": ('[models.a]\nsource = "pypi:a/../b"', ["models.a.source", "expected"]),
    "model name with a slash": ('[models."a/b"]\npath = "x.gguf"', ['models."a/b"', "rename it"]),
    "model not a table": ("[models]\na = 3", ["models.a = 3", "a table"]),
    "same model twice": (f"{MODEL}[models.a]\n", ["not valid TOML", "models"]),
    "alias of two models": (
        f'{MODEL}aliases = ["c"]\n[models.b]\npath = "x.gguf"\naliases = ["c"]',
        [":6:", "models.b.aliases", '"c" already means "a"'],
    ),
    "alias equal to a model": (f'{MODEL}[models.b]\npath = "x.gguf"\naliases = ["a"]', ['alias "a"']),
    "alias equal to its own model": (f'{MODEL}aliases = ["a"]', ['alias "a" already means "a"']),
    "alias twice": (f'{MODEL}aliases = ["b", "b"]', ['alias "b" already means "a"']),
    "route and model of one name": (
        f'{MODEL}{PROVIDER}[routes.a]\nprovider = "p"\nmodel = "m"',
        ["routes.a", "a model has this name too"],
    ),
    "role pointing nowhere": (f'{MODEL}[roles]\nmain = "aa"', ['roles.main = "aa"', "did you mean 'a'"]),
    "role pointing nowhere, no models": ('[roles]\nmain = "aa"', ['roles.main = "aa"', "there are none"]),
    "background without a small role": (
        f'{MODEL}[roles]\nbackground = ["claude-haiku-*"]',
        ["roles.background", 'add small = "MODEL"'],
    ),
    "background pattern that is a model": (
        f'{MODEL}aliases = ["haiku"]\n[roles]\nsmall = "a"\nbackground = ["haiku-*", "haiku"]',
        ["roles.background", 'called "haiku"'],
    ),
    "background pattern for everything": (
        f'{MODEL}[roles]\nsmall = "a"\nbackground = ["*"]',
        ["roles.background", '= "*"', "expected at least 3 characters"],
    ),
    "background pattern with blanks": (
        f'{MODEL}[roles]\nsmall = "a"\nbackground = ["claude haiku"]',
        ["roles.background", "expected a model name"],
    ),
    "unknown role": ('[roles]\nboss = "a"', ["roles.boss", "known: main, small, subagent, background"]),
    "model called as a role": (
        '[models.main]\npath = "x.gguf"\n[roles]\nmain = "main"',
        ["roles.main", 'called "main" too'],
    ),
    "route without provider": ('[routes.r]\nprovider = "q"\nmodel = "m"', ['routes.r.provider = "q"']),
    "route to a misspelt provider": (
        f'{PROVIDER}[routes.r]\nprovider = "pp"\nmodel = "m"',
        ["routes.r.provider", "did you mean 'p'"],
    ),
    "provider without address": ('[providers.p]\napi_key_env = "X"', ["providers.p.base_url: missing"]),
    "provider not http": ('[providers.p]\nbase_url = "ftp://x"', ["providers.p.base_url", "https://"]),
    "key over plain http": (
        '[providers.p]\nbase_url = "http://127.evil.example"\napi_key_env = "X"',
        ["providers.p.base_url", "clear text", "https"],
    ),
    "key in a header": (f'{PROVIDER}headers = {{ Authorization = "{CANARY}" }}', ["headers", "api_key_env"]),
    "header injection": (f'{PROVIDER}headers = {{ X-A = "a\\r\\nb: c" }}', ["headers", "printable ASCII"]),
    "keys variable not set": ('[server]\napi_keys_env = "NOPE"', ['api_keys_env = "NOPE"', "not set"]),
    "several problems": ("[server]\nport = -1\nhots = 1", ["server.port", "(and 1 more)"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(folder: Path, text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    message = caught.value.message
    assert message.startswith(str(folder / "models.toml"))
    assert "\n" not in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\xff", "not UTF-8 at byte 0"), (b"#" * (2**20 + 1), "larger than")],
    ids=["not utf-8", "huge"],
)
def test_unreadable_content_is_refused(folder: Path, content: bytes, expected: str) -> None:
    path = folder / "models.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        load_config(path, {})


def test_absent_file_and_folder_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"nope\.toml.*--config"):
        load_config(folder / "nope.toml", {})
    with pytest.raises(ConfigError, match="--config"):
        load_config(folder, {})


# --- secrets -----------------------------------------------------------------------------------


def test_keys_come_from_the_environment_and_are_never_shown(folder: Path) -> None:
    text = f'[server]\napi_keys_env = "KEYS"\n{PROVIDER}api_key_env = "PKEY"'
    config = load(folder, text, {"KEYS": f"{CANARY}-1, {CANARY}-2", "PKEY": f"{CANARY}-3"})
    assert config.server.api_keys == (f"{CANARY}-1", f"{CANARY}-2")
    key = config.providers["p"].api_key
    assert key is not None
    assert key.reveal() == f"{CANARY}-3"
    for shown in (repr(config), str(config), f"{key}", f"{key!r}", "%s" % key, str(key), repr((key,))):  # noqa: UP031
        assert CANARY not in shown


def test_the_usual_key_variable_is_read_without_being_named(folder: Path) -> None:
    assert load(folder, "", {"HOTSEAT_API_KEY": CANARY}).server.api_keys == (CANARY,)


def test_a_key_with_control_characters_is_refused_and_not_shown(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, "", {"HOTSEAT_API_KEY": f"{CANARY}\x01"})
    assert CANARY not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        f'[server]\napi_keys_env = "{CANARY}"',
        f'{PROVIDER}api_key_env = "{CANARY}"',
        f'[providers.p]\nbase_url = "https://user:{CANARY}@example.org"',
        f'[providers.p]\nbase_url = "https://example.org?key={CANARY}"',
        f'{PROVIDER}headers = {{ Authorization = "{CANARY}" }}',
        f'{PROVIDER}headers = {{ X-A = "{CANARY}\\n" }}',
    ],
)
def test_a_key_pasted_into_the_file_is_refused_and_not_repeated(folder: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert CANARY not in caught.value.message


def test_secret_behaves_as_text_where_it_must() -> None:
    secret = Secret(CANARY)
    assert secret == CANARY
    assert secret.encode() == CANARY.encode()
    assert type(secret.reveal()) is str
    assert pickle.loads(pickle.dumps(secret)).reveal() == CANARY


# --- model files -------------------------------------------------------------------------------


def test_path_is_relative_to_the_file_and_knows_home(folder: Path) -> None:
    config = load(folder, '[models.a]\npath = "x.gguf"\n[models.b]\npath = "~/y.gguf"', {"HOME": "/nowhere"})
    assert config.models["a"].spec.path == str(folder / "x.gguf")
    assert config.models["a"].missing is None
    assert config.models["b"].spec.path == "/nowhere/y.gguf"
    assert "not found: /nowhere/y.gguf does not exist: correct path" in (config.models["b"].missing or "")


def test_hf_source_lies_in_the_models_directory(folder: Path) -> None:
    text = '[models.a]\nsource = "hf:owner/repo/sub/f.gguf"'
    belongs = folder / "home/models/hf/owner/repo/sub/f.gguf"
    entry = load(folder, text).models["a"]
    assert entry.spec.path == str(belongs)
    assert (entry.missing or "").startswith(f"not downloaded: {belongs}")
    belongs.parent.mkdir(parents=True)
    belongs.write_bytes(b"GGUF")
    assert load(folder, text).models["a"].missing is None


def test_a_directory_or_a_pipe_is_not_a_model(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "dir").mkdir()
    for name in ("pipe", "dir"):
        entry = load(folder, f'[models.a]\npath = "{name}"').models["a"]
        assert (entry.missing or "").startswith("not a regular file")


def test_missing_template_makes_the_model_missing(folder: Path) -> None:
    entry = load(folder, '[models.a]\npath = "x.gguf"\nchat_template = "t.jinja"').models["a"]
    assert entry.spec.chat_template == str(folder / "t.jinja")
    assert (entry.missing or "").startswith("chat_template: not found")


@pytest.fixture
def installed_dist(tmp_path: Path) -> Iterator[Path]:
    """A distribution `Some_Model` whose package would raise if it were imported."""
    site = tmp_path / "site"
    package = site / "some_model"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "data" / "m.gguf").write_bytes(b"GGUF")
    info = site / "some_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Some_Model\nVersion: 1.0\n")
    (info / "RECORD").write_text(
        "some_model/__init__.py,,\nsome_model/data/m.gguf,,\nsome_model/gone.gguf,,\n"
    )
    sys.path.insert(0, str(site))
    yield package
    sys.path.remove(str(site))


def test_pypi_source_finds_package_data_without_importing_it(installed_dist: Path, tmp_path: Path) -> None:
    for dist in ("some-model", "Some_Model"):
        for name in ("m.gguf", "data/m.gguf", "some_model/data/m.gguf"):
            found = find_source(f"pypi:{dist}/{name}", tmp_path)
            assert found.path == installed_dist / "data" / "m.gguf"
            assert found.missing is None
    assert "some_model" not in sys.modules


def test_pypi_source_falls_back_to_the_models_directory(installed_dist: Path, tmp_path: Path) -> None:
    for name in ("gone.gguf", "other.gguf"):  # listed but deleted, and never packaged
        found = find_source(f"pypi:some-model/{name}", tmp_path)
        assert found.path == tmp_path / "pypi" / "some-model" / name
        assert "not downloaded" in (found.missing or "")
        assert "pip install some-model" in (found.missing or "")


def test_home_follows_the_environment() -> None:
    home = str(Path.home())
    assert hotseat_home({"HOTSEAT_HOME": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert hotseat_home({"XDG_CACHE_HOME": "/b", "HOME": "/c"}) == Path("/b/hotseat")
    assert hotseat_home({"HOME": "/c"}) == Path("/c/.cache/hotseat")
    assert hotseat_home({}) == Path(home) / ".cache/hotseat"


def test_what_cannot_be_fetched_again_is_in_no_cache() -> None:
    assert state_home({"HOTSEAT_HOME": "/a", "XDG_STATE_HOME": "/b"}) == Path("/a")
    assert state_home({"XDG_STATE_HOME": "/b", "XDG_CACHE_HOME": "/d"}) == Path("/b/hotseat")
    assert state_home({"HOME": "/c", "XDG_CACHE_HOME": "/d"}) == Path("/c/.local/state/hotseat")


# --- units -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (300_000_000, 300_000_000),
        ("300000000", 300_000_000),
        ("300MB", 300_000_000),
        ("300 mb", 300_000_000),
        ("28GiB", 28 * 2**30),
        ("1.5GiB", 3 * 2**29),
        ("0.1kB", 100),
        (0, 0),
    ],
)
def test_bytes(value: object, count: int) -> None:
    assert parse_bytes(value) == count


@pytest.mark.parametrize("value", ["", "x", "1G", "1e9", "-1", -1, 1.5, True, None, "9" * 30, "1.GiB", [1]])
def test_not_bytes(value: object) -> None:
    with pytest.raises(ValueError, match="expected bytes"):
        parse_bytes(value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (2.5, 2.5),
        (10, 10.0),
        ("10s", 10.0),
        ("30m", 1800.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("500ms", 0.5),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    assert parse_duration_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "10", "s", "10 x", "1h-3m", -1, "99999d", True, None, 10**400])
def test_not_durations(value: object) -> None:
    with pytest.raises(ValueError, match="expected seconds"):
        parse_duration_s(value)


@given(st.integers(min_value=0, max_value=2**62))
def test_shown_bytes_read_back_within_a_percent(count: int) -> None:
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.01, abs=0.5)


# --- the file that is shipped ------------------------------------------------------------------


def test_shipped_file_is_valid_and_documents_every_limit_at_its_default() -> None:
    config = load_config(SHIPPED, {"HOTSEAT_HOME": "/nowhere"})
    assert config.server.limits == Limits()
    limits = SHIPPED.read_text().split("[server.limits]")[1].split("[memory]")[0]
    documented = set(re.findall(r"^(\w+) =", limits, re.MULTILINE))
    fields = {field.name.removesuffix("_s").removesuffix("_bytes") for field in dataclasses.fields(Limits)}
    assert documented == fields


def test_shipped_file_shows_what_is_not_set_up() -> None:
    config = load_config(SHIPPED, {"HOTSEAT_HOME": "/nowhere"})
    assert {"smollm2-135m", "gemma3-270m", "qwen3.6-35b-a3b"} <= set(config.models)
    assert "smollm2" in config.models["smollm2-135m"].spec.aliases
    assert "not downloaded" in (config.models["qwen3.6-35b-a3b"].missing or "")
    assert config.providers["openrouter"].api_key is None
    assert config.models["qwen3-embedding-4b"].spec.embeddings


def test_kv_snapshots_lie_in_hotseats_home_unless_told_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    environ = {"HOTSEAT_HOME": str(tmp_path / "home")}
    file.write_text('[models.m]\npath = "m.gguf"\nkv_ram = "1GiB"\n')
    spec = load_config(file, environ).models["m"].spec
    assert (spec.kv_store, spec.kv_ram_bytes) == (str(tmp_path / "home" / "kv"), 2**30)
    file.write_text(
        '[memory]\nkv_store = { path = "snapshots", limit = "1GiB", max_age = "1d" }\n'
        '[models.m]\npath = "m.gguf"\n'
    )
    spec = load_config(file, environ).models["m"].spec
    assert spec.kv_store == str(tmp_path / "snapshots")
    assert (spec.kv_store_limit_bytes, spec.kv_store_max_age_s) == (2**30, 86400.0)
    file.write_text('[memory]\nkv_store = false\n[models.m]\npath = "m.gguf"\n')
    assert load_config(file, environ).models["m"].spec.kv_store is None


def test_prefixes_are_stabilised_where_a_model_or_the_defaults_say_so(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(
        '[defaults]\nstabilise_prefix = true\n[models.a]\npath = "a.gguf"\n'
        '[models.b]\npath = "b.gguf"\nstabilise_prefix = false\n'
    )
    models = load_config(file, {}).models
    assert (models["a"].spec.stabilise_prefix, models["b"].spec.stabilise_prefix) == (True, False)
    file.write_text('[models.a]\npath = "a.gguf"\n')
    assert not load_config(file, {}).models["a"].spec.stabilise_prefix
