"""One typed settings object: STREAMREC_* and the documented DB_* variables over config/streamrec.toml."""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy.engine import URL, make_url

from streamrec.errors import NotReady

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE_SECRET = "change-me"  # noqa: S105 - the very value that production refuses


Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class Settings(BaseSettings):
    """Every setting; `config/streamrec.toml` documents each with its unit and consequence."""

    model_config = SettingsConfigDict(env_prefix="STREAMREC_", extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    data_dir: Path = Path("data")
    auth: Literal["open", "required"] | None = None
    production: bool = False
    secret_key: SecretStr = SecretStr(SAMPLE_SECRET)
    api_workers: int = Field(2, ge=1, le=64)
    allowed_hosts: Annotated[list[str], NoDecode] = []
    trusted_proxies: Annotated[list[str], NoDecode] = ["127.0.0.1", "::1"]
    cors_origins: Annotated[list[str], NoDecode] = []
    egress_allow: Annotated[list[str], NoDecode] = []
    store: Literal["local", "s3"] = "local"
    s3_bucket: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")
    s3_endpoint: str | None = Field(None, pattern=r"^https?://[^/@\s]+/?$")
    s3_region: str = "us-east-1"
    s3_prefix: str = Field("", pattern=r"^(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}/){0,8}$")
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    s3_path_style: bool = True
    check_bytes_per_second: int = Field(20_000_000, ge=1)
    signing_key_file: Path | None = None
    retention_days: int = Field(60, ge=1, le=36_500)
    retention_bytes: int | None = Field(None, ge=1)
    disk_warn_percent: float = Field(10.0, ge=0, le=100)
    disk_low_percent: float = Field(5.0, ge=0, le=100)
    disk_low: Literal["warn", "expire"] = "warn"
    handover_after_seconds: float = Field(300.0, ge=120)
    handover_files: int = Field(2, ge=1, le=32)
    media_redirect: bool = True
    media_redirect_seconds: int = Field(3600, ge=10, le=604_800)
    max_body_bytes: int = Field(1_048_576, ge=1024)
    max_upload_bytes: int = Field(10_737_418_240, ge=1024)
    cache_bytes: int = Field(1_073_741_824, ge=0)
    ffmpeg: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    log_dir: Path | None = None

    database_url: SecretStr | None = None
    db_type: Literal["postgresql"] = "postgresql"
    db_user: str | None = None
    db_password: SecretStr | None = None
    db_host: str | None = None
    db_port: int = 5432
    db_name: str | None = None
    db_pool_size: int = Field(10, ge=1)
    db_timeout_seconds: float = Field(5.0, gt=0)

    poll_seconds: float = Field(2.0, gt=0)
    heartbeat_seconds: float = Field(2.0, gt=0, le=2.0)
    sync_seconds: float = Field(2.0, gt=0)
    stop_seconds: float = Field(4.0, gt=0)
    restart_cap_seconds: float = Field(5.0, gt=0)
    retry_cap_seconds: float = Field(15.0, gt=0)
    canary: bool = False
    canary_port: int = Field(18_765, ge=1, le=65_535)
    source_attempts: int = Field(3, ge=1, le=1000)
    source_patience_seconds: float = Field(10.0, ge=1)
    source_return_seconds: float = Field(60.0, ge=1)
    recorder_capacity: int = Field(500, ge=1, le=100_000)
    recorder_labels: Annotated[dict[Literal["site", "network"], Label], NoDecode] = {}

    job_slots: int = Field(2, ge=1, le=64)
    job_days: int = Field(7, ge=1, le=3650)
    clip_days: int = Field(30, ge=1, le=36500)
    event_clients: int = Field(200, ge=1, le=100_000)

    @field_validator("egress_allow", "allowed_hosts", "trusted_proxies", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Variables hold comma-separated text; the file holds arrays."""
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("recorder_labels", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        """A variable holds `site=berlin,network=dmz`; the file holds a table."""
        if isinstance(value, str):
            return dict(part.strip().split("=", 1) for part in value.split(",") if part.strip())
        return value

    @field_validator("data_dir", "log_dir", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        """A relative folder is meant from the project, so that every process agrees on it."""
        return value if value is None or value.is_absolute() else PROJECT / value

    @model_validator(mode="after")
    def _whole_database(self) -> Self:
        """Half of an address would quietly mean the embedded server, and recordings listed in the wrong place."""
        parts = {"DB_HOST": self.db_host, "DB_NAME": self.db_name, "DB_USER": self.db_user}
        missing = [name for name, value in parts.items() if not value]
        if self.database_url is None and 0 < len(missing) < len(parts):
            raise ValueError(f"the database's address lacks {' and '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _whole_bucket(self) -> Self:
        """Recordings that are to go to a bucket need one."""
        if self.store == "s3" and self.s3_bucket is None:
            raise ValueError("store = s3 needs s3_bucket")
        if (self.s3_access_key is None) != (self.s3_secret_key is None):
            raise ValueError("s3_access_key and s3_secret_key belong together")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the API."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def auth_required(self) -> bool:
        """Keys are asked for unless the API is open by setting, or by default on loopback."""
        if self.auth is None:
            return self.production or not self.is_loopback
        return self.auth == "required"

    @property
    def archive_dir(self) -> Path:
        """Where closed recordings lie."""
        return self.data_dir / "archive"

    @property
    def signing_key(self) -> Path:
        """The key that signs manifests."""
        return self.signing_key_file or self.data_dir / "signing-key.pem"

    @property
    def steward_lock(self) -> Path:
        """Held by the one recorder of the data folder that does its upkeep; there once one did."""
        return self.run_dir / "steward.lock"

    @property
    def files_dir(self) -> Path:
        """Where stored files lie."""
        return self.data_dir / "files"

    @property
    def cache_dir(self) -> Path:
        """Where pictures lie that can be made again."""
        return self.data_dir / "cache"

    @property
    def clips_dir(self) -> Path:
        """Where clips lie; on the archive's file system, copying into it costs next to nothing."""
        return self.data_dir / "clips"

    @property
    def spool_dir(self) -> Path:
        """Where the recorder keeps its journal and what is being written."""
        return self.data_dir / "spool"

    @property
    def run_dir(self) -> Path:
        """Sockets, pid files and other things that mean nothing after a restart."""
        return self.data_dir / "run"

    def make_run_dir(self) -> None:
        """Make it, and the data folder. Raises NotReady if the setting is wrong, OSError if the disk is."""
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            if not os.access(self.run_dir, os.W_OK | os.X_OK, effective_ids=True):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.run_dir))
        except (NotADirectoryError, FileExistsError, PermissionError) as exc:
            text = f"The data folder (STREAMREC_DATA_DIR) cannot be used: {exc.strerror}: {exc.filename}"
            raise NotReady(text) from exc

    @property
    def postgres_dir(self) -> Path:
        """The embedded PostgreSQL's data."""
        return self.data_dir / "postgres"

    @property
    def is_embedded(self) -> bool:
        """Whether streamrec runs its own PostgreSQL."""
        return self.database_url is None and self.db_host is None

    def database(self) -> URL:
        """The SQLAlchemy address of the database, always through psycopg2.

        `DATABASE_URL` wins over the `DB_*` variables; with neither, the embedded server's socket is meant.
        """
        if self.database_url is not None:
            return make_url(self.database_url.get_secret_value()).set(drivername="postgresql+psycopg2")
        if self.db_host is not None:
            return URL.create(
                "postgresql+psycopg2",
                username=self.db_user,
                password=self.db_password.get_secret_value() if self.db_password else None,
                host=self.db_host,
                port=self.db_port,
                database=self.db_name,
            )
        return URL.create(
            "postgresql+psycopg2",
            username="streamrec",
            database="streamrec",
            query={"host": str(socket_dir(self.data_dir)), "port": "5432"},  # libpq would look at PGPORT
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            _PlainVariables(settings_cls),
            TomlConfigSettingsSource(settings_cls, toml_file=config_files()),
        )


class _PlainVariables(PydanticBaseSettingsSource):
    """`DATABASE_URL`, `DB_*` and `FFMPEG`, the names that deployments already use."""

    names = ("database_url", "db_type", "db_user", "db_password", "db_host", "db_port", "db_name", "ffmpeg")

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return os.environ.get(field_name.upper()), field_name, False

    def __call__(self) -> dict[str, Any]:
        return {name: os.environ[name.upper()] for name in self.names if os.environ.get(name.upper())}


def config_files() -> list[Path]:
    """What is read, the later over the earlier: STREAMREC_CONFIG's file, or ours and then the operator's own."""
    given = os.environ.get("STREAMREC_CONFIG")
    if given:
        return [Path(given)]
    return [PROJECT / "config" / "streamrec.toml", PROJECT / "config" / "streamrec.local.toml"]


def socket_dir(data_dir: Path) -> Path:
    """The embedded server's socket folder; a socket's path may have at most 107 bytes (unix(7), sun_path).

    A data folder too deep for that gets a folder of its own under the system's temporary folder.
    """
    wanted = data_dir / "run"
    if len(os.fsencode(wanted / ".s.PGSQL.5432.lock")) < 104:
        return wanted
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"streamrec-{os.getuid()}-{digest}"


@cache
def load() -> Settings:
    """The settings of this process, read once.

    Raises:
        NotReady: a value does not fit; the text names every one.
    """
    try:
        return Settings()
    except ValidationError as exc:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'database'}: {e['msg']}" for e in exc.errors())
        raise NotReady(f"The settings do not fit: {faults}.") from exc


def refuse_samples(settings: Settings) -> None:
    """Raises NotReady if a production service would run with the secret that everybody can read in the samples."""
    if settings.production and settings.secret_key.get_secret_value() == SAMPLE_SECRET:
        raise NotReady(
            "Production does not start with the sample secret. Set STREAMREC_SECRET_KEY to something like"
            ' the output of: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
