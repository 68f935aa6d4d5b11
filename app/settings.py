"""Every setting of the service, read once from the environment (prefix R2F_)."""

import base64
import binascii
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.access import is_loopback

KEY_BYTES = 32
DAY = 86_400.0  # seconds
CENTURY = 36_525.0  # days: what is kept for good is set otherwise, and no date lies beyond the calendar


class Settings(BaseSettings):
    """Settings of the API and of the worker; each field is the environment variable R2F_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="R2F_", env_ignore_empty=True, extra="ignore", frozen=True, allow_inf_nan=False
    )

    data_dir: Path = Field(default=Path(".r2f"), description="Folder of everything that has no place of its own.")
    database_url: str = Field(
        default="", description="`sqlite:///…` or `postgresql+psycopg://…`; a SQLite file in the data folder if empty."
    )
    broker_url: str = Field(
        default="filesystem://", description="`filesystem://` (messages in the data folder) or `redis://…`."
    )
    broker_prefix: str = Field(default="", description="Prefix of every Redis key, to share one Redis.")
    artefact_dir: Path | None = Field(default=None, description="Adapters; `artefacts` in the data folder if unset.")
    artefact_url: str = Field(
        default="",
        pattern=r"^(s3://[^/]+(/.*)?)?$",
        description="`s3://bucket/prefix`: adapters in an S3-compatible store instead of a folder. Its address and "
        "credentials come from AWS_ENDPOINT, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; plain http needs "
        "AWS_ALLOW_HTTP=true.",
    )
    model_dir: Path | None = Field(
        default=None, description="Prepared models and their curvature; `models` in the data folder if unset."
    )
    master_key: SecretStr | None = Field(
        default=None,
        description="Base64 of the 32 bytes that wrap every request's key; made in the data folder if unset, "
        "required with PostgreSQL.",
    )
    master_key_retiring: SecretStr | None = Field(
        default=None, description="The master key before R2F_MASTER_KEY, for as long as `r2f seal rotate` needs it."
    )

    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port the API listens on.")
    authentication: Literal["auto", "required", "off", "proxy"] = Field(
        default="auto",
        description="Who needs an API key. `auto`: everybody, but until the first key is made not those who call a "
        "loopback address from this machine. `required`: everybody. `off`: nobody, on loopback addresses only. "
        "`proxy`: nobody, because a proxy in front has authenticated them.",
    )
    session_minutes: float = Field(
        default=60.0, gt=0, le=DAY / 60 * 366, description="How long a browser stays logged in."
    )
    rate_limit: int = Field(default=6000, ge=1, description="Most calls of one API key per minute.")
    stranger_limit: int = Field(
        default=600,
        ge=1,
        description="Most calls without a key that works, log-ins among them, per minute and address.",
    )
    body_limit: int = Field(default=1024 * 1024, ge=1024, description="Largest request body, in bytes.")
    idempotency_hours: float = Field(
        default=24.0, gt=0, le=366 * 24, description="How long an Idempotency-Key is remembered."
    )
    model_folders: str = Field(
        default="",
        description="Folders, with `:` between, that models and decoders may be registered from; only the folder of "
        "prepared models if empty.",
    )
    purge_days: float = Field(
        default=7.0,
        ge=0,
        le=CENTURY,
        description="How long a completed or canceled request is kept before its key is destroyed.",
    )
    adapter_days: float | None = Field(
        default=None, gt=0, le=CENTURY, description="How long a published adapter is kept; for good if unset."
    )
    allow_hub: bool = Field(default=False, description="Accept models by hub id, fetched by the worker.")
    database_pool: int = Field(default=10, ge=1, description="Database connections kept per process.")

    lease_seconds: float = Field(default=60.0, gt=0, le=DAY, description="How long a claim lasts without a heartbeat.")
    heartbeat_seconds: float = Field(
        default=10.0, gt=0, le=DAY, description="Pause between two heartbeats of a worker."
    )
    sweep_seconds: float = Field(default=15.0, gt=0, le=DAY, description="Pause between two sweeps for lost work.")
    watch_seconds: float = Field(
        default=0.5, gt=0, le=DAY, description="Pause between two looks for changes while somebody follows a deletion."
    )
    max_attempts: int = Field(default=3, ge=1, description="Runs of one deletion before it counts as failed.")
    backoff_seconds: float = Field(
        default=10.0, ge=0, le=DAY, description="Wait after a first failed run; doubles with each further one."
    )

    model: str = Field(default="smollm2-135m-instruct", description="Id of the model that a worker serves.")
    paraphraser: str = Field(
        default="",
        description="Folder (absolute) or hub id of a T5 or BART model that rephrases prompts, beside the served model "
        "itself; none if empty.",
    )
    paraphraser_prefix: str = Field(default="paraphrase: ", description="What that model wants before a text.")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="Where a worker computes: auto, cpu, cuda[:n]."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Precision of the base model in a worker."
    )
    torch_threads: int = Field(default=0, ge=0, description="CPU threads of a worker; 0: all cores.")
    calibration_tokens: int = Field(default=20_000, ge=200, description="Tokens behind a model's generic curvature.")

    webhook_allow_private: bool = Field(
        default=False, description="Let webhooks lead to private and loopback addresses, and to plain http."
    )

    traces: bool = Field(
        default=False,
        description="Send OpenTelemetry traces, to where the standard `OTEL_EXPORTER_OTLP_*` variables say.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level that is logged."
    )

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        if not value.startswith(("filesystem://", "redis://", "rediss://")):
            raise ValueError("must start with filesystem://, redis:// or rediss://")
        try:
            parts = urlsplit(value)
            number = parts.path.strip("/")
            usable = parts.port != 0 and (number.isdecimal() or not number)
        except ValueError:
            usable = False
        if not (usable or value.startswith("filesystem://")):
            raise ValueError("must be redis://host:port/number, or rediss:// likewise")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("must start with sqlite:/// or postgresql+psycopg://")
        try:
            make_url(value or "sqlite:///")
        except (ArgumentError, ValueError):  # both repeat the address, which may hold a password
            raise ValueError("must be postgresql+psycopg://user@host:port/name") from None
        return value

    @field_validator("master_key", "master_key_retiring")
    @classmethod
    def _whole_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                size = len(base64.b64decode(value.get_secret_value(), validate=True))
            except binascii.Error as error:
                raise ValueError("must be base64") from error
            if size != KEY_BYTES:
                raise ValueError(f"must be base64 of {KEY_BYTES} bytes")
        return value

    @model_validator(mode="after")
    def _safe(self) -> "Settings":
        if self.authentication == "off" and not is_loopback(self.host):
            raise ValueError(
                f"{self.host} can be reached from other machines: set R2F_AUTHENTICATION=auto and make keys with "
                "`r2f keys create`, or R2F_AUTHENTICATION=proxy if a proxy in front of the service authenticates"
            )
        # Several machines that each made a key of their own could not read one another's requests.
        if self.database_url.startswith("postgresql") and self.master_key is None:
            raise ValueError("R2F_MASTER_KEY is required when R2F_DATABASE_URL is PostgreSQL")
        if self.master_key_retiring is not None and self.master_key is None:
            raise ValueError("R2F_MASTER_KEY_RETIRING is of use only beside R2F_MASTER_KEY")
        if self.artefact_url and self.artefact_dir is not None:
            raise ValueError("R2F_ARTEFACT_URL and R2F_ARTEFACT_DIR name two places for the adapters: set one")
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("R2F_LEASE_SECONDS must be at least twice R2F_HEARTBEAT_SECONDS, or leases expire at work")
        return self

    @property
    def database(self) -> str:
        """The database URL with its default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'r2f.db'}"

    @property
    def broker_dir(self) -> Path:
        """Folder of the `filesystem://` messages."""
        return self.data_dir.absolute() / "broker"

    @property
    def artefacts(self) -> Path:
        """Folder of the adapters."""
        return self.artefact_dir or self.data_dir.absolute() / "artefacts"

    @property
    def models(self) -> Path:
        """Folder of prepared models, one folder per model id."""
        return self.model_dir or self.data_dir.absolute() / "models"

    @property
    def sources(self) -> tuple[Path, ...]:
        """Folders that models and decoders may come from."""
        return (self.models, *(Path(folder) for folder in self.model_folders.split(os.pathsep) if folder))

    @property
    def master_key_path(self) -> Path:
        """Where the master key is kept when the environment gives none."""
        return self.data_dir.absolute() / "master.key"
