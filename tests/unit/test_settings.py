"""Settings: where they come from, and that config/streamrec.toml is their manual."""

from __future__ import annotations

import ast
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gunicorn.config import make_settings

from streamrec import settings
from streamrec.cli import GUNICORN_SAMPLE
from streamrec.errors import NotReady
from streamrec.settings import PROJECT, Settings, socket_dir

MANUAL = PROJECT / "config" / "streamrec.toml"
OWN = ("STREAMREC_", "DB_", "DATABASE_URL", "FFMPEG")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(OWN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("STREAMREC_CONFIG", str(MANUAL))
    settings.load.cache_clear()


def write(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    path = folder / "streamrec.toml"
    path.write_text(text)
    monkeypatch.setenv("STREAMREC_CONFIG", str(path))


def test_the_manual_holds_exactly_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read = Settings()
    monkeypatch.setenv("STREAMREC_CONFIG", str(tmp_path / "none"))

    assert read == Settings()


def test_the_manual_names_every_setting_and_no_other() -> None:
    """A setting without a default stands there as a comment."""
    named = set(re.findall(r"^(?:# )?([a-z0-9_]+) = ", MANUAL.read_text(), re.MULTILINE))

    assert named == set(Settings.model_fields)


def test_every_setting_with_a_default_is_set_in_the_manual() -> None:
    with MANUAL.open("rb") as file:
        read = tomllib.load(file)

    assert set(read) == {name for name, field in Settings.model_fields.items() if field.default is not None}


def test_every_setting_of_the_manual_has_a_text_above_it() -> None:
    paragraphs = re.split(r"\n\n+", MANUAL.read_text())
    for paragraph in paragraphs:
        if re.search(r"^(?:# )?[a-z_]+ = ", paragraph, re.MULTILINE):
            assert re.match(r"# [^=]{20,}", paragraph), paragraph


def test_the_samples_name_only_settings_that_exist() -> None:
    sample = tomllib.loads((PROJECT / "config/sample/sample-production.streamrec.toml").read_text())

    assert set(sample) <= set(Settings.model_fields)
    assert sample["secret_key"] == settings.SAMPLE_SECRET


def assigned(path: Path) -> set[str]:
    """The names that a module's own lines define or import."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.FunctionDef(name=name):
                names.add(name)
            case ast.ImportFrom(names=imported):
                names |= {each.name for each in imported}
    return names


def test_the_gunicorn_sample_has_all_that_gunicorn_is_told() -> None:
    """Read, not imported: that would set variables of this process."""
    told = assigned(PROJECT / "streamrec" / "serving.py") & set(make_settings())

    assert "post_fork" in told
    assert told <= assigned(PROJECT / GUNICORN_SAMPLE)


def test_variables_win_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(monkeypatch, tmp_path, 'port = 9000\nhost = "::1"\n')
    monkeypatch.setenv("STREAMREC_PORT", "9001")

    assert (Settings().port, Settings().host) == (9001, "::1")


def test_an_operators_own_file_wins_over_the_manual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMREC_CONFIG")

    assert [path.name for path in settings.config_files()] == ["streamrec.toml", "streamrec.local.toml"]


def test_a_setting_that_does_not_exist_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(monkeypatch, tmp_path, "prot = 9000\n")

    with pytest.raises(NotReady, match="prot"):
        settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "0"), ("PORT", "eighty"), ("AUTH", "maybe"), ("LOG_LEVEL", "loud"), ("DB_TYPE", "mysql")],
)
def test_a_value_that_does_not_fit_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"STREAMREC_{name}", value)

    with pytest.raises(NotReady, match=name.lower()):
        settings.load()


def test_lists_are_comma_separated_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMREC_EGRESS_ALLOW", "127.0.0.1:8001, [::1]:8002 ,")

    assert Settings().egress_allow == ["127.0.0.1:8001", "[::1]:8002"]


# --- the database -----------------------------------------------------------------------------------------


def test_without_an_address_the_embedded_server_is_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever PGPORT says."""
    monkeypatch.setenv("PGPORT", "5999")
    chosen = Settings(data_dir=tmp_path)

    assert chosen.is_embedded
    assert chosen.database().query == {"host": str(tmp_path / "run"), "port": "5432"}


def test_the_variables_of_container_set_ups_name_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"DB_USER": "ann", "DB_PASSWORD": "p@ss/w", "DB_HOST": "db", "DB_NAME": "streams", "DB_PORT": "5433"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    url = Settings().database()

    assert (url.username, url.password, url.host, url.port, url.database) == (
        "ann",
        "p@ss/w",
        "db",
        5433,
        "streams",
    )
    assert url.drivername == "postgresql+psycopg2"


def test_half_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would quietly mean the embedded server."""
    monkeypatch.setenv("DB_NAME", "streams")

    with pytest.raises(NotReady, match="DB_HOST and DB_USER"):
        settings.load()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_database_url_is_reached_through_psycopg2(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """It wins over the DB_* variables."""
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://ann:secret@db/streams")
    for name in ("DB_HOST", "DB_NAME", "DB_USER"):
        monkeypatch.setenv(name, "other")

    url = Settings().database()

    assert (url.drivername, url.host, url.database) == ("postgresql+psycopg2", "db", "streams")


def test_settings_do_not_show_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hidden@db/streams")
    monkeypatch.setenv("STREAMREC_SECRET_KEY", "hidden")

    assert "hidden" not in repr(Settings())


# --- who may call -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "required"),
    [
        ({}, False),
        ({"host": "localhost"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "recorder.example.org"}, True),
        ({"production": True}, True),
        ({"host": "0.0.0.0", "auth": "open"}, False),
        ({"auth": "required"}, True),
    ],
)
def test_keys_are_asked_for_unless_the_api_is_open_or_on_loopback(
    given: dict[str, object], required: bool
) -> None:
    assert Settings.model_validate(given).auth_required is required


# --- folders ----------------------------------------------------------------------------------------------


def test_a_relative_folder_is_meant_from_the_project() -> None:
    assert Settings(data_dir=Path("here")).data_dir == PROJECT / "here"


def test_a_socket_gets_a_path_that_the_kernel_takes(tmp_path: Path) -> None:
    for depth in range(0, 120, 7):
        path = socket_dir(tmp_path / ("d" * depth)) / ".s.PGSQL.5432.lock"
        assert len(os.fsencode(path)) < 108


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that others may enter: pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def nobody() -> Iterator[None]:
    """Root is refused nothing, so that it must be somebody else; anybody else stays."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_run_folder_that_may_not_be_written_is_named(open_folder: Path) -> None:
    run = open_folder / "run"
    run.mkdir(mode=0o555)
    with nobody(), pytest.raises(NotReady) as refused:
        Settings(data_dir=open_folder).make_run_dir()

    assert str(run) in refused.value.detail
    assert "Permission denied" in refused.value.detail
