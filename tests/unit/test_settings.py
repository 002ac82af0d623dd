"""Settings: where a value comes from, and what happens to wrong ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from memos import settings
from memos.errors import ConfigError

SECRET = "sk-do-not-show-me"


def load(
    directory: Path,
    *,
    arguments: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> settings.Loaded:
    return settings.load(arguments=arguments, environ=environ or {}, directory=directory)


def shown(loaded: settings.Loaded) -> dict[str, tuple[str, str]]:
    return {path: (value, source) for path, value, source in settings.rows(loaded)}


def test_defaults_need_nothing(tmp_path: Path):
    loaded = load(tmp_path)
    assert loaded.settings.user == "default"
    assert loaded.settings.home == Path.home() / ".memos"
    assert loaded.settings.store == {"kind": "sqlite"}
    assert loaded.settings.embedder == {"kind": "onnx"}
    assert {source for _, source in shown(loaded).values()} == {"default"}


def test_every_layer_wins_over_the_ones_below(tmp_path: Path):
    named = tmp_path / "named.toml"
    layers: list[tuple[str, dict[str, str], dict[str, object]]] = [
        ("environment MOS_TOP_K", {"MOS_TOP_K": "1"}, {}),
        ("memos.toml", {}, {}),
        (str(named), {"MEMOS_CONFIG": str(named)}, {}),
        (".env MEMOS_SEARCH__LIMIT", {}, {}),
        ("environment MEMOS_SEARCH__LIMIT", {"MEMOS_SEARCH__LIMIT": "5"}, {}),
        ("argument", {}, {"search": {"limit": 6}}),
    ]
    environ: dict[str, str] = {}
    arguments: dict[str, object] = {}
    for limit, (source, names, given) in enumerate(layers, 1):
        if source == "memos.toml":
            (tmp_path / "memos.toml").write_text("[search]\nlimit = 2\n", encoding="utf-8")
        if source == str(named):
            named.write_text("[search]\nlimit = 3\n", encoding="utf-8")
        if source.startswith(".env"):
            (tmp_path / ".env").write_text("MEMOS_SEARCH__LIMIT=4\n", encoding="utf-8")
        environ |= names
        arguments |= given
        loaded = load(tmp_path, environ=environ, arguments=arguments)
        assert shown(loaded)["search.limit"] == (str(limit), source)


def test_layers_are_merged_field_by_field(tmp_path: Path):
    (tmp_path / "memos.toml").write_text('user = "toml"\n[search]\nlimit = 2\n', encoding="utf-8")
    loaded = load(tmp_path, environ={"MEMOS_SEARCH__RECIPE": "words"}, arguments={"user": "林晓"})
    assert loaded.settings.user == "林晓"
    assert loaded.settings.search.limit == 2
    assert loaded.settings.search.recipe == "words"


def test_the_environment_wins_over_dotenv_for_memos_own_names_too(tmp_path: Path):
    (tmp_path / ".env").write_text("MOS_TOP_K=3\nMOS_USER_ID=dot\n", encoding="utf-8")
    loaded = load(tmp_path, environ={"MOS_TOP_K": "4"})
    assert shown(loaded)["search.limit"] == ("4", "environment MOS_TOP_K")
    assert shown(loaded)["user"] == ("dot", ".env MOS_USER_ID")


def test_an_embedder_may_be_named_in_two_places(tmp_path: Path):
    text = "MOS_EMBEDDER_MODEL=bge-m3\nMOS_EMBEDDER_API_BASE=http://localhost:1/v1\n"
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    loaded = load(tmp_path, environ={"MOS_EMBEDDER_API_KEY": SECRET})
    assert loaded.settings.embedder == {
        "kind": "openai",
        "model": "bge-m3",
        "base_url": "http://localhost:1/v1",
        "api_key": SECRET,
    }


def test_another_kind_leaves_the_fields_of_the_former_one_behind(tmp_path: Path):
    text = '[embedder]\nkind = "openai"\nmodel = "m"\n'
    (tmp_path / "memos.toml").write_text(text, encoding="utf-8")
    assert load(tmp_path).settings.embedder == {"kind": "openai", "model": "m"}
    same = load(tmp_path, environ={"MEMOS_EMBEDDER__KIND": "openai"})
    assert same.settings.embedder["model"] == "m"
    other = load(tmp_path, environ={"MEMOS_EMBEDDER__KIND": "onnx"})
    assert other.settings.embedder == {"kind": "onnx"}


def test_a_section_without_a_kind_belongs_to_the_default_one(tmp_path: Path):
    loaded = load(tmp_path, environ={"MEMOS_STORE__PATH": "/data"})
    assert loaded.settings.store == {"kind": "sqlite", "path": "/data"}


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_memos_config_may_be_a_mosconfig(tmp_path: Path, suffix: str):
    path = tmp_path / f"mos.{suffix}"
    path.write_text(json.dumps({"user_id": "root", "top_k": 5}), encoding="utf-8")
    loaded = load(tmp_path, environ={"MEMOS_CONFIG": path.name})
    assert shown(loaded)["user"] == ("root", path.name)
    assert loaded.settings.search.limit == 5


def test_secrets_are_masked_and_only_they(tmp_path: Path):
    environ = {
        "OPENAI_API_KEY": SECRET,
        "MEMOS_EMBEDDER__KIND": "openai",
        "MEMOS_EMBEDDER__API_KEY": SECRET,
        "MEMOS_STORE__PASSWORD": SECRET,
        "MEMOS_CHAT__KIND": "openai",
        "MEMOS_CHAT__API_KEY": SECRET,
        "MEMOS_CHAT__EXTRA_HEADERS__X-TEAM": SECRET,
    }
    loaded = load(tmp_path, environ=environ)
    rows = shown(loaded)
    assert SECRET not in f"{loaded.settings!r} {loaded.settings}"
    assert rows["chat.extra_headers.x-team"][0] == "********"
    assert rows["services.openai_api_key"] == ("********", "environment OPENAI_API_KEY")
    assert rows["embedder.api_key"][0] == "********"
    assert rows["store.password"][0] == "********"
    assert rows["ingest.chunk_tokens"][0] == "200"
    assert SECRET not in str(rows)


def test_a_variable_set_to_nothing_is_not_set(tmp_path: Path):
    loaded = load(
        tmp_path, environ={"MEMOS_HOME": "", "MEMOS_SEARCH__LIMIT": "", "MEMOS_CONFIG": ""}
    )
    assert loaded.settings.home == Path.home() / ".memos"


def test_names_of_the_cloud_client_are_left_alone(tmp_path: Path):
    environ = {"MEMOS_API_KEY": SECRET, "MEMOS_BASE_URL": "https://x", "MEMOS_IS_GLOBAL": "1"}
    assert {source for _, source in shown(load(tmp_path, environ=environ)).values()} == {"default"}


@pytest.mark.parametrize(
    ("environ", "path", "code"),
    [
        ({"MEMOS_SERACH__LIMIT": "5"}, "serach.limit", "unknown_setting"),
        ({"MEMOS_SEARCH__LIMITS": "5"}, "search.limits", "unknown_setting"),
        ({"MEMOS_SEARCH__LIMIT__X": "5"}, "search.limit.x", "unknown_setting"),
        ({"MEMOS_HOEM": "/x"}, "hoem", "unknown_setting"),
        ({"MEMOS_SEARCH__LIMIT": "many"}, "search.limit", "invalid_settings"),
        ({"MEMOS_SEARCH__LIMIT": "0"}, "search.limit", "invalid_settings"),
        ({"MEMOS_INGEST__CHUNK_TOKENS": "99999"}, "ingest.chunk_tokens", "invalid_settings"),
        ({"MEMOS_SEARCH": "5"}, "search", "invalid_settings"),
        ({"MEMOS_STORE": "sqlite"}, "store", "invalid_settings"),
        ({"QDRANT_HOST": "q"}, "QDRANT_HOST", "not_built_yet"),
    ],
)
def test_wrong_keys_and_values_fail_with_their_path(
    tmp_path: Path, environ: dict[str, str], path: str, code: str
):
    with pytest.raises(ConfigError, match=rf"\b{path}\b") as caught:
        load(tmp_path, environ=environ)
    assert caught.value.code == code


def test_a_misspelt_key_names_its_source(tmp_path: Path):
    (tmp_path / "memos.toml").write_text("[search]\nlimits = 2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"search\.limits \(memos\.toml\)"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"), [(b"limit = ", "not valid TOML"), (b"\xff\xfe", "not valid TOML")]
)
def test_a_malformed_file_is_named(tmp_path: Path, content: bytes, told: str):
    (tmp_path / "memos.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"memos\.toml is {told}"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["missing.toml", "missing.json"])
def test_a_named_file_must_exist(tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match=name):
        load(tmp_path, environ={"MEMOS_CONFIG": name})


def test_a_wrong_secret_is_not_quoted(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, arguments={"services": {"openai_api_key": [SECRET]}})
    assert SECRET not in caught.value.detail


def test_networks_from_the_environment(tmp_path: Path) -> None:
    environ = {"MEMOS_NETWORK__ALLOW": "localhost, 10.0.0.0/8", "MEMOS_NETWORK__TIMEOUT_S": "5"}
    network = load(environ=environ, directory=tmp_path).settings.network
    assert (network.allow, network.timeout_s) == (("localhost", "10.0.0.0/8"), 5.0)


def test_default_keys_of_the_dialects(tmp_path: Path) -> None:
    given = '[{"dialect": "openmem", "network": "10.0.0.0/8", "key": "mk_canary"}]'
    loaded = load(tmp_path, environ={"MEMOS_SERVER__DEFAULT_KEYS": given})
    (entry,) = loaded.settings.server.default_keys
    assert (entry.dialect, str(entry.network)) == ("openmem", "10.0.0.0/8")
    assert entry.key.get_secret_value() == "mk_canary"
    assert "canary" not in repr([*settings.rows(loaded)]) + repr(loaded.settings)
    (tmp_path / "memos.toml").write_text(
        '[[server.default_keys]]\ndialect = "start"\nnetwork = "::1"\nkey = "mk_x"\n', "utf-8"
    )
    assert load(tmp_path).settings.server.default_keys[0].dialect == "start"
    for wrong in ("{", '[{"dialect": "native", "network": "10.0.0.0/8", "key": "k"}]', "[1]"):
        with pytest.raises(ConfigError, match="default_keys"):
            load(tmp_path, environ={"MEMOS_SERVER__DEFAULT_KEYS": wrong})
