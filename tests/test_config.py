"""Settings from files, environment and flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from usance.config import Settings, load, masked, shown, variable
from usance.kernel.errors import Refused, Unreadable


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of a working folder of its own; not written yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "usance.toml"


@pytest.mark.usefixtures("toml")
def test_nothing_given_means_the_defaults() -> None:
    found = load(environ={})
    assert found.settings == Settings()
    assert set(found.sources.values()) == {"default"}


def test_flags_win_over_variables_and_variables_over_the_files(toml: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    toml.write_text("partitions = 8\n[bank]\nname = 'Working'\n[web]\nport = 1\n")
    (folder / "usance.toml").write_text("data = 'x'\n[bank]\nname = 'Data'\n[web]\nport = 2\n")
    environ = {"USANCE_WEB_PORT": "3", "USANCE_DATA": "variable"}
    found = load(folder, {"web.port": "4", "data": None}, environ)
    assert found.settings.partitions == 8
    assert found.settings.bank.name == "Data"
    assert found.settings.data == "variable"
    assert found.settings.web.port == 4
    sources = {name: source for name, _, source in shown(found)}
    assert sources["web.port"] == "flag"
    assert sources["data"] == "environment USANCE_DATA"
    assert sources["bank.name"] == f"file {folder / 'usance.toml'}"
    assert sources["bank.bic"] == "default"


@pytest.mark.parametrize(
    ("text", "wrong", "near"),
    [
        ("[web]\nprot = 80\n", "web.prot", "web.port"),
        ("partition = 8\n", "partition", "partitions"),
        ("zzzz = 8\n", "zzzz", "bank.tenant"),
        ("web = 8400", "web", "web.host"),
        ("[data]\nfolder = 'x'", "data.folder", "data"),
    ],
)
def test_an_unknown_name_is_an_error_that_leads_to_a_known_one(
    toml: Path, text: str, wrong: str, near: str
) -> None:
    toml.write_text(text)
    with pytest.raises(Unreadable) as caught:
        load(environ={})
    assert f"{wrong}, set in file usance.toml" in caught.value.message
    assert near in caught.value.hint


@pytest.mark.usefixtures("toml")
def test_an_unknown_variable_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(Unreadable) as caught:
        load(environ={"USANCE_PARTITION": "8"})
    assert caught.value.hint == "Did you mean USANCE_PARTITIONS?"


@pytest.mark.usefixtures("toml")
def test_variables_of_the_command_line_and_of_others_are_left_alone() -> None:
    environ = {"USANCE_AS": "amara.okafor", "USANCE_OUTPUT": "json", "HOME": "/"}
    assert load(environ=environ).settings == Settings()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("partitions = 0", "partitions"),
        ("partitions = 65", "partitions"),
        ("partitions = '4'", "partitions"),
        ("[web]\nport = 70000", "web.port"),
        ("[bank]\nbic = 'nonsense'", "bank.bic"),
        ("[bank]\ntenant = 'Two Words'", "bank.tenant"),
        ("[owner]\nbatch_max = 2001", "owner.batch_max"),
        ("[gateway]\nloopback = 'yes'", "gateway.loopback"),
    ],
)
def test_a_value_that_cannot_be_used_is_an_error_that_names_it(
    toml: Path, text: str, wrong: str
) -> None:
    toml.write_text(text)
    with pytest.raises(Unreadable) as caught:
        load(environ={})
    assert wrong in caught.value.message
    assert caught.value.hint


@pytest.mark.usefixtures("toml")
def test_text_of_the_environment_is_read_as_numbers_and_truths() -> None:
    environ = {"USANCE_GATEWAY_LOOPBACK": "true", "USANCE_PARTITIONS": "12"}
    settings = load(environ=environ).settings
    assert settings.gateway.loopback is True
    assert settings.partitions == 12


@pytest.mark.usefixtures("toml")
@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "bank.example", ""])
def test_an_address_that_others_reach_is_refused(host: str) -> None:
    with pytest.raises(Refused) as caught:
        load(flags={"web.host": host}, environ={})
    assert caught.value.code == "NOT_LOOPBACK"


@pytest.mark.usefixtures("toml")
@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_each_form_of_the_loopback_address_is_accepted(host: str) -> None:
    assert load(flags={"web.host": host}, environ={}).settings.web.host == host


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"partitions = = 4", b"[web\n"])
def test_a_file_that_is_no_toml_is_an_error_that_names_it(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    with pytest.raises(Unreadable) as caught:
        load(environ={})
    assert "usance.toml" in caught.value.message


def test_a_folder_in_place_of_the_file_is_an_error(toml: Path) -> None:
    toml.mkdir()
    with pytest.raises(Unreadable, match=r"usance\.toml"):
        load(environ={})


@pytest.mark.usefixtures("toml")
def test_every_setting_has_one_variable_of_its_own() -> None:
    names = [name for name, _, _ in shown(load(environ={}))]
    assert len({variable(name) for name in names}) == len(names)
    assert variable("owner.batch_max") == "USANCE_OWNER_BATCH_MAX"


def test_a_secret_is_never_printed() -> None:
    assert masked("gateway.api_token", "s3cret") == "********"
    assert masked("registry.password", "s3cret") == "********"
    assert masked("gateway.api_token", "") == ""
    assert masked("bank.bic", "ALBNGB2L") == "ALBNGB2L"


@pytest.mark.usefixtures("toml")
def test_a_log_is_the_folders_own_or_a_kafka_cluster() -> None:
    assert load(environ={}).settings.bootstrap_servers == ""
    found = load(None, {"log": "kafka://one:9092,two:9092"}, {}).settings
    assert found.bootstrap_servers == "one:9092,two:9092"
    with pytest.raises(Unreadable, match="log, set in flag"):
        load(None, {"log": "kafka:/one"}, {})
