"""MemOS's configuration: what is translated, and what says that it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos.errors import ConfigError
from memos.mosconfig import NAMES, from_environment, load_file, translate
from memos.ports.backend import Role
from memos.registry import resolve
from memos.settings import validated

SECRET = "sk-do-not-show-me"


def _embedder(backend: str = "universal_api", **config: object) -> dict[str, object]:
    own = {"model_name_or_path": "bge-m3", "provider": "openai", "api_key": SECRET} | config
    return {"mem_reader": {"backend": "simple_struct", "config": {
        "embedder": {"backend": backend, "config": own},
    }}}  # fmt: skip


def _chat(backend: str = "openai", **config: object) -> dict[str, object]:
    own = {"model_name_or_path": "m", "api_key": SECRET} | config
    return {"chat_model": {"backend": backend, "config": own}}


def _refusal(config: object, code: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        translate(config)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert SECRET not in caught.value.detail
    assert SECRET not in repr(caught.value.context)
    return caught.value


# --- environment


def test_names_become_settings_with_their_source():
    found = from_environment(
        {
            "OPENAI_API_KEY": SECRET,
            "OPENAI_API_BASE": "http://localhost:1/v1",
            "HF_ENDPOINT": "https://mirror.example",
            "MOS_USER_ID": "林晓",
            "MOS_SESSION_ID": "s1",
            "MOS_TOP_K": "7",
        }
    )
    assert found == {
        "services.openai_api_key": (SECRET, "OPENAI_API_KEY"),
        "services.openai_base_url": ("http://localhost:1/v1", "OPENAI_API_BASE"),
        "services.hf_endpoint": ("https://mirror.example", "HF_ENDPOINT"),
        "user": ("林晓", "MOS_USER_ID"),
        "session": ("s1", "MOS_SESSION_ID"),
        "search.limit": (7, "MOS_TOP_K"),
    }


def test_an_embedding_server_becomes_an_openai_embedder():
    found = from_environment(
        {
            "MOS_EMBEDDER_BACKEND": "universal_api",
            "MOS_EMBEDDER_PROVIDER": "openai",
            "MOS_EMBEDDER_MODEL": "bge-m3",
            "MOS_EMBEDDER_API_BASE": "http://localhost:8000/v1",
            "MOS_EMBEDDER_API_KEY": "EMPTY",
            "MOS_EMBEDDER_TIMEOUT": "2.5",
            "EMBEDDING_DIMENSION": "1024",
        }
    )
    assert {path: value for path, (value, _) in found.items()} == {
        "embedder.kind": "openai",
        "embedder.model": "bge-m3",
        "embedder.base_url": "http://localhost:8000/v1",
        "embedder.api_key": "EMPTY",
        "embedder.timeout_s": "2.5",
        "embedder.dimensions": 1024,
    }
    assert found["embedder.kind"][1] == "MOS_EMBEDDER_BACKEND"


def test_a_model_alone_chooses_the_embedder():
    found = from_environment({"MOS_EMBEDDER_MODEL": "bge-m3"})
    assert found["embedder.kind"] == ("openai", "MOS_EMBEDDER_MODEL")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {
            "PATH": "/bin",
            "REDIS_URL": "redis://x",
            "POSTGRES_HOST": "db",
            "MODEL": "gpt",
            "TZ": "UTC",
        },
        {"MOSES": "x", "MOSQUITTO_HOST": "y", "mos_top_k": "5"},
        {"EMBEDDING_DIMENSION": "1024"},
        {"MOS_CHAT_MODEL": "", "QDRANT_HOST": "  ", "MOS_NO_SUCH": ""},
    ],
)
def test_names_of_others_and_empty_values_do_not_disturb(environ: dict[str, str]):
    assert from_environment(environ) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOS_ENABLE_REORGANIZE", "False"),
        ("MOS_ENABLE_SCHEDULER", "0"),
        ("MOS_RERANKER_BACKEND", "noop"),
        ("MOS_TEXT_MEM_TYPE", "general_text"),
        ("MOS_USER_MANAGER_BACKEND", "sqlite"),
        ("MOS_SCHEDULER_TOP_K", "10"),
        ("MEMSCHEDULER_USE_REDIS_QUEUE", "false"),
    ],
)
def test_values_that_ask_for_nothing_are_accepted(name: str, value: str):
    assert from_environment({name: value}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOS_CHAT_MODEL_PROVIDER", "huggingface"),
        ("MOS_CHAT_MODEL_PROVIDER", "azure"),
        ("MOS_ENABLE_REORGANIZE", "true"),
        ("MOS_RERANKER_BACKEND", "http_bge_strategy"),
        ("MOS_EMBEDDER_BACKEND", "ollama"),
        ("MOS_EMBEDDER_PROVIDER", "azure"),
        ("MOS_EMBEDDER_BACKUP_API_KEY", SECRET),
        ("MOS_TEXT_MEM_TYPE", "tree_text"),
        ("QDRANT_HOST", "localhost"),
        ("QDRANT_PORT", "6333"),
        ("NEO4J_URI", "bolt://localhost:7687"),
        ("NEO4J_AUTH", f"neo4j/{SECRET}"),
        ("NEO4J_PASSWORD", SECRET),
        ("MEMRADER_API_KEY", SECRET),
        ("MEMSCHEDULER_REDIS_PASSWORD", SECRET),
    ],
)
def test_what_is_not_built_yet_is_an_error_that_names_it(name: str, value: str):
    with pytest.raises(ConfigError) as caught:
        from_environment({name: value})
    assert caught.value.code == "not_built_yet"
    assert name in caught.value.detail
    assert "cannot do yet" in caught.value.detail
    assert "unset it" in caught.value.detail
    assert SECRET not in caught.value.detail


def test_all_that_is_asked_for_comes_in_one_error():
    with pytest.raises(ConfigError) as caught:
        from_environment(
            {"MOS_CHAT_MODEL_PROVIDER": "x", "QDRANT_HOST": "y", "MOS_ENABLE_SCHEDULER": "true"}
        )
    assert caught.value.context["fields"] == [
        "MOS_CHAT_MODEL_PROVIDER",
        "MOS_ENABLE_SCHEDULER",
        "QDRANT_HOST",
    ]
    assert "unset them" in caught.value.detail


def test_an_unknown_name_is_an_error():
    with pytest.raises(ConfigError, match="MOS_CHAT_MODLE") as caught:
        from_environment({"MOS_CHAT_MODLE": "gpt"})
    assert caught.value.code == "unknown_setting"


@pytest.mark.parametrize("value", ["ten", "-1", "1e3", "٣", "9" * 40, "3.5"])
def test_a_malformed_number_names_its_variable(value: str):
    with pytest.raises(ConfigError, match="MOS_TOP_K") as caught:
        from_environment({"MOS_TOP_K": value})
    assert caught.value.code == "invalid_settings"


@given(st.dictionaries(st.sampled_from(sorted(NAMES)) | st.text(max_size=8), st.text(max_size=12)))
def test_any_environment_is_translated_or_refused(environ: dict[str, str]):
    try:
        found = from_environment(environ)
    except ConfigError:
        return
    assert all(name in environ for _, name in found.values())


# --- MOSConfig


def test_a_config_becomes_settings():
    config = _embedder(base_url="http://localhost:8000/v1", embedding_dims=1024) | {
        "model_schema": "memos.configs.mem_os.MOSConfig",
        "user_id": "root",
        "session_id": "s-1",
        "top_k": 5,
        "max_turns_window": 15,
        "enable_textual_memory": True,
        "enable_activation_memory": False,
        "PRO_MODE": False,
        "mem_scheduler": None,
        "user_manager": {"backend": "sqlite", "config": {"user_id": "root", "db_path": None}},
    }
    config["mem_reader"]["config"]["chunker"] = {  # type: ignore[index]
        "backend": "sentence",
        "config": {
            "tokenizer_or_token_counter": "gpt2",
            "chunk_size": 512,
            "chunk_overlap": 128,
            "min_sentences_per_chunk": 1,
        },
    }
    tree = translate(config)
    assert tree == {
        "user": "root",
        "session": "s-1",
        "search": {"limit": 5},
        "ingest": {"chunk_tokens": 512},
        "prompt": {"max_turns_window": 15},
        "embedder": {
            "kind": "openai",
            "model": "bge-m3",
            "base_url": "http://localhost:8000/v1",
            "api_key": SECRET,
            "dimensions": 1024,
        },
    }
    assert validated(tree).ingest.chunk_tokens == 512


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            _chat(temperature=0.5, max_tokens=100, top_p=0.9, api_base="http://h/v1"),
            {"kind": "openai", "model": "m", "api_key": SECRET, "base_url": "http://h/v1",
             "temperature": 0.5, "max_tokens": 100, "top_p": 0.9},
        ),
        (
            _chat("azure", base_url="https://n.openai.azure.com", extra_body={"user": "u"}),
            {"kind": "openai", "model": "m", "api_key": SECRET, "extra_body": {"user": "u"},
             "base_url": "https://n.openai.azure.com", "api_version": "2024-03-01-preview"},
        ),
        (
            _chat("deepseek", default_headers={"X-Team": "a"}),
            {"kind": "openai", "model": "m", "api_key": SECRET,
             "base_url": "https://api.deepseek.com", "extra_headers": {"X-Team": "a"}},
        ),
        (
            _chat("qwen", enable_thinking=False),
            {"kind": "openai", "model": "m", "api_key": SECRET,
             "base_url": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
             "extra_body": {"enable_thinking": False}},
        ),
        (
            _chat("ollama", enable_thinking=True),
            {"kind": "ollama", "model": "m", "api_key": SECRET, "think": True},
        ),
    ],
)  # fmt: skip
def test_a_chat_model_becomes_ours(config: dict[str, object], expected: dict[str, object]):
    tree = translate(config)
    assert tree == {"chat": expected}
    resolve("chat", validated(tree).chat, Role.CHAT)


def test_a_backup_client_becomes_the_fallback():
    tree = translate(
        _chat(backup_client=True, backup_api_base="http://b/v1", backup_model_name_or_path="n")
    )
    assert tree["chat_fallback"] == {
        "kind": "openai", "model": "n", "api_key": SECRET, "base_url": "http://b/v1",
    }  # fmt: skip


def test_chat_names_become_a_chat_model_only_with_a_model():
    asked = {"MOS_CHAT_TEMPERATURE": "0.8", "MINIMAX_API_KEY": SECRET, "OPENAI_API_KEY": SECRET}
    assert set(from_environment(asked)) == {"services.openai_api_key"}
    found = from_environment({**asked, "MOS_CHAT_MODEL": "gpt-4o-mini"})
    assert found["chat.kind"] == ("openai", "MOS_CHAT_MODEL")
    assert found["chat.model"] == ("gpt-4o-mini", "MOS_CHAT_MODEL")
    assert found["chat.temperature"] == ("0.8", "MOS_CHAT_TEMPERATURE")
    assert "chat.api_key" not in found
    found = from_environment(
        {**asked, "MOS_CHAT_MODEL": "M1", "MOS_CHAT_MODEL_PROVIDER": "MiniMax"}
    )
    assert found["chat.kind"] == ("openai", "MOS_CHAT_MODEL_PROVIDER")
    assert found["chat.api_key"] == (SECRET, "MINIMAX_API_KEY")
    assert found["chat.base_url"][0] == "https://api.minimax.io/v1"


def test_a_reranker_becomes_ours():
    asked = {"MOS_RERANKER_URL": "http://h:8001/rerank", "MOS_RERANKER_MODEL": "bge"}
    assert from_environment(asked) == {}
    found = from_environment({**asked, "MOS_RERANKER_BACKEND": "http_bge"})
    assert {path: value for path, (value, _) in found.items()} == {
        "reranker.kind": "http", "reranker.url": "http://h:8001/rerank", "reranker.model": "bge",
    }  # fmt: skip
    found = from_environment({**asked, "MOS_RERANKER_BACKEND": "cosine_local"})
    assert found == {"reranker.kind": ("cosine", "MOS_RERANKER_BACKEND")}


def test_modes_and_the_web_become_ours():
    found = from_environment({"SEARCH_MODE": "Mixture"})
    assert found == {"search.recipe": ("mixture", "SEARCH_MODE")}
    assert from_environment({"SEARCH_MODE": "someone else's", "ENABLE_INTERNET": "true"}) == {}
    keys = {"BOCHA_API_KEY": SECRET, "TAVILY_API_KEY": "t"}
    assert from_environment(keys) == {}
    assert from_environment({**keys, "ENABLE_INTERNET": "false"}) == {}
    assert from_environment({**keys, "ENABLE_INTERNET": "true"}) == {
        "web.kind": ("bocha", "ENABLE_INTERNET"), "web.api_key": (SECRET, "BOCHA_API_KEY"),
    }  # fmt: skip
    asked = {**keys, "ENABLE_INTERNET": "true", "INTERNET_SEARCH_BACKEND": "tavily"}
    assert from_environment(asked) == {
        "web.kind": ("tavily", "INTERNET_SEARCH_BACKEND"), "web.api_key": ("t", "TAVILY_API_KEY"),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="another search engine"):
        from_environment({"INTERNET_SEARCH_BACKEND": "xinyu"})


def test_an_empty_config_says_nothing():
    assert translate({}) == {}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (_chat("huggingface"), "chat_model.backend"),
        (_chat(top_k=7), "chat_model.config.top_k"),
        ({"mem_scheduler": {"backend": "general_scheduler"}}, "mem_scheduler"),
        ({"enable_textual_memory": False}, "enable_textual_memory"),
        ({"enable_activation_memory": True}, "enable_activation_memory"),
        ({"enable_parametric_memory": True}, "enable_parametric_memory"),
        ({"enable_preference_memory": True}, "enable_preference_memory"),
        ({"enable_mem_scheduler": True}, "enable_mem_scheduler"),
        ({"PRO_MODE": True}, "PRO_MODE"),
        (
            {"user_manager": {"backend": "mysql", "config": {"password": SECRET}}},
            "user_manager.backend",
        ),
        ({"user_manager": {"backend": "redis"}}, "user_manager.backend"),
        (
            {"user_manager": {"backend": "sqlite", "config": {"db_path": "/x/users.db"}}},
            "user_manager.config.db_path",
        ),
        (
            {"mem_reader": {"backend": "multimodal_struct", "config": {}}},
            "mem_reader.backend",
        ),
        (
            {"mem_reader": {"backend": "simple_struct", "config": {"llm": {"backend": "openai"}}}},
            "mem_reader.config.llm",
        ),
        (_embedder("ollama", api_base="http://x"), "mem_reader.config.embedder.backend"),
        (_embedder("sentence_transformer"), "mem_reader.config.embedder.backend"),
        (_embedder("ark", chunk_size=1), "mem_reader.config.embedder.backend"),
        (_embedder(provider="azure"), "mem_reader.config.embedder.config.provider"),
        (_embedder(backup_client=True), "mem_reader.config.embedder.config.backup_client"),
        (
            _embedder(headers_extra={"Authorization": SECRET}),
            "mem_reader.config.embedder.config.headers_extra",
        ),
    ],
)
def test_fields_of_features_to_come_are_named(config: dict[str, object], field: str):
    error = _refusal(config, "not_built_yet")
    assert error.context["fields"] == [field]
    assert field in error.detail
    assert "remove it, or wait for the release" in error.detail


def test_all_such_fields_come_in_one_error():
    config = _embedder(provider="azure", max_tokens=100) | {
        **_chat("huggingface_singleton"),
        "PRO_MODE": True,
    }
    error = _refusal(config, "not_built_yet")
    assert error.context["fields"] == [
        "PRO_MODE",
        "chat_model.backend",
        "mem_reader.config.embedder.config.max_tokens",
        "mem_reader.config.embedder.config.provider",
    ]


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"userid": "x", "topk": 3}, ["topk", "userid"]),
        (_embedder(api_kee=SECRET), ["mem_reader.config.embedder.config.api_kee"]),
        (
            {"mem_reader": {"backend": "simple_struct", "config": {"zoo": 1}, "more": 2}},
            ["mem_reader.config.zoo", "mem_reader.more"],
        ),
        (
            {"user_manager": {"backend": "sqlite", "config": {"pasword": SECRET}}},
            ["user_manager.config.pasword"],
        ),
        ({1: "x"}, ["1"]),
    ],
)
def test_unknown_fields_are_listed_with_their_paths(config: dict[str, object], fields: list[str]):
    error = _refusal(config, "unknown_setting")
    assert error.context["fields"] == fields


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"top_k": "5"}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"user_id": 7}, "user_id"),
        ({"PRO_MODE": "yes"}, "PRO_MODE"),
        ({"enable_textual_memory": None}, "enable_textual_memory"),
        ({"chat_model": SECRET}, "chat_model"),
        ({"mem_reader": [SECRET]}, "mem_reader"),
        ({"mem_reader": {"config": {}}}, "mem_reader.backend"),
        (_embedder(api_key=[SECRET]), "mem_reader.config.embedder.config.api_key"),
        (_embedder(embedding_dims=SECRET), "mem_reader.config.embedder.config.embedding_dims"),
    ],
)
def test_values_of_the_wrong_type_are_named(config: dict[str, object], path: str):
    error = _refusal(config, "invalid_settings")
    assert path in error.detail


# --- files


def test_json_and_yaml_load_alike(tmp_path: Path):
    config = {"user_id": "林晓", "top_k": 5}
    (tmp_path / "c.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "b.json").write_text("\ufeff" + json.dumps(config), encoding="utf-8")
    (tmp_path / "c.yaml").write_text("user_id: 林晓\ntop_k: 5\n", encoding="utf-8")
    (tmp_path / "c.YML").write_text("{user_id: 林晓, top_k: 5}", encoding="utf-8")
    for name in ("c.json", "b.json", "c.yaml", "c.YML"):
        assert load_file(tmp_path / name) == config


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("c.json", b'{\n "top_k": 5,\n "api_key": sk-do-not-show-me\n}', "line 3"),
        ("c.json", b"", "line 1"),
        ("c.yaml", b"a: 1\napi_key: [sk-do-not-show-me\n", "line 3"),
        ("c.yaml", b"a: 1\nb: !!python/object:os.system {}\n", "line 2"),
        ("c.yaml", b"a: *sk-do-not-show-me\n", "line 1"),
        ("c.yaml", b"a: \x00", "YAML"),
        ("c.json", b"[1, 2]", "one object"),
        ("c.yaml", b"just words", "one object"),
        ("c.yaml", b"", "one object"),
        ("c.json", b"\xff\xfe{", "UTF-8"),
        ("c.json", b"[" * 100_000, "nested"),
        ("c.yaml", b"[" * 5_000, "nested"),
        ("c.json", b'{"top_k": ' + b"9" * 5000 + b"}", "JSON"),
        ("c.toml", b"", ".json"),
        ("c", b"{}", ".json"),
    ],
)
def test_malformed_files_are_named_with_their_line(
    tmp_path: Path, name: str, content: bytes, told: str
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=told) as caught:
        load_file(tmp_path / name)
    assert caught.value.detail.startswith(f"{name} ")
    assert SECRET not in caught.value.detail


@pytest.mark.parametrize("name", ["missing.json", "folder.yaml"])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str):
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigError, match=name) as caught:
        load_file(tmp_path / name)
    assert caught.value.code == "unreadable_file"
