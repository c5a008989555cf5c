"""One schema per service, four sources: flag > environment > YAML file > default.

    flag         --http-port 8080
    environment  AVIKAM_GATEWAY__HTTP_PORT=8080
    file         gateway: {http_port: 8080}

A secret setting may also be a file that the environment names, as Kubernetes and Docker mount them:
``AVIKAM_GATEWAY__REDIS_FILE=/etc/avikam-redis/url``. It is read once, at the start.

A settings object is built once, here, and passed down. Constructing one directly reads nothing but
its arguments. Environment names need the double underscore: Kubernetes injects names such as
``AVIKAM_GATEWAY_PORT`` for a service called avikam-gateway, and those are not ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

SECTIONS = ("gateway", "worker")
_PREFIX = "AVIKAM_"
_OFF = frozenset({"", "none", "null", "off"})

Port = Annotated[int, Field(ge=0, le=65535)]


def _split(value: Any) -> Any:
    """A comma-separated text is a list."""
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]
Addresses = Texts


class SettingsError(ValueError):
    """What is wrong with the settings, one line per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(BaseModel):
    """Base of every service's settings: frozen, and closed to unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log record that is written."
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="How logs are written; auto is text on a terminal, else JSON."
    )
    tracing_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector that gets spans over OTLP/HTTP, e.g. "
        "http://otel-collector:4318; off traces nothing.",
    )
    tracing_sample_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Part of the requests that is traced; a client's traceparent decides for "
        "its own.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _off_is_none(cls, value: Any, info: ValidationInfo) -> Any:
        """Let ``off`` and ``none`` switch off what may be absent."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        optional = type(None) in get_args(annotation)
        # YAML 1.1 reads a bare `off` as false.
        if optional and (value is False or (isinstance(value, str) and value.lower() in _OFF)):
            return None
        return value

    @field_validator("tracing_endpoint")
    @classmethod
    def _collector_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("a collector's address is http://HOST:PORT, or https")
        if url.username is not None or url.password is not None:
            raise ValueError("put credentials into OTEL_EXPORTER_OTLP_HEADERS, not into the URL")
        return value


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: a source, and the name it has there."""

    source: Literal["flag", "environment", "file", "default"]
    name: str

    def __str__(self) -> str:
        return self.source if self.source == "default" else f"{self.source} {self.name}"


_DEFAULT = Origin("default", "")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """Settings, and the origin of each field."""

    settings: S
    origins: Mapping[str, Origin]

    def is_default(self, name: str) -> bool:
        """Whether nobody set this value."""
        return self.origins[name].source == "default"


def load(
    cls: type[S],
    section: str,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> S:
    """Settings of one section; raises :class:`SettingsError` naming every problem."""
    return load_with_origins(cls, section, file, flags, environ).settings


def load_with_origins(
    cls: type[S],
    section: str,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded[S]:
    """Like :func:`load`, and says where each value came from. Flags that are None are not given."""
    environ = os.environ if environ is None else environ
    # Weakest first: a later source overrides.
    given = [
        *_from_file(section, file),
        *_from_environment(section, environ, _secrets(cls)),
        *_from_flags(flags or {}),
    ]
    known = tuple(cls.model_fields)
    problems = [*_unknown_sections(file, environ), *_unknown_names(given, known, section)]
    values = {name: value for name, value, _ in given if name in known}
    origins = {name: origin for name, _, origin in given}
    try:
        settings = cls.model_validate(values)
    except ValidationError as error:
        raise SettingsError([*problems, *_invalid(error, origins, _secrets(cls))]) from None
    if problems:
        raise SettingsError(problems)
    return Loaded(settings, {name: origins.get(name, _DEFAULT) for name in known})


_Given = tuple[str, Any, Origin]


def _from_file(section: str, file: Path | None) -> Iterator[_Given]:
    if file is None:
        return
    content = _read(file).get(section) or {}
    if not isinstance(content, dict):
        raise SettingsError([f"{section} in {file} must hold names and values"])
    for name, value in content.items():
        yield str(name), value, Origin("file", f"{section}.{name} in {file}")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise SettingsError([f"cannot read {file}: {error.strerror}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError([f"{file} is not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(content, dict):
        raise SettingsError([f"{file} must hold the sections {', '.join(SECTIONS)}"])
    return content


def environment_name(section: str, name: str) -> str:
    """The environment variable of a setting."""
    return f"{_PREFIX}{section}__{name}".upper()


def flag_name(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def _from_environment(
    section: str, environ: Mapping[str, str], secrets: frozenset[str]
) -> Iterator[_Given]:
    prefix = environment_name(section, "")
    for variable in sorted(environ):
        if variable.startswith(prefix):
            name = variable.removeprefix(prefix).lower()
            value, setting = environ[variable], name.removesuffix("_file")
            if setting != name and setting in secrets:
                name, value = setting, _read_secret(variable, Path(value))
            yield name, value, Origin("environment", variable)


def _read_secret(variable: str, file: Path) -> str:
    """The file's text, without the newline that an editor leaves at its end."""
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError([f"{variable} names {file}, which cannot be read: {reason}"]) from None


def _from_flags(flags: Mapping[str, Any]) -> Iterator[_Given]:
    for name, value in flags.items():
        if value is not None:
            yield name, value, Origin("flag", flag_name(name))


def _unknown_sections(file: Path | None, environ: Mapping[str, str]) -> Iterator[str]:
    for name in _read(file) if file else ():
        if name not in SECTIONS:
            yield f"{name} in {file} is not a section{_suggest(str(name), SECTIONS)}"
    sections = {section.upper(): section for section in SECTIONS}
    for variable in sorted(environ):
        section, separator, _ = variable.removeprefix(_PREFIX).partition("__")
        if variable.startswith(_PREFIX) and separator and section not in sections:
            near = _suggest(section, tuple(sections))
            yield f"{variable}: {section} is not a section{near}"


def _unknown_names(given: list[_Given], known: tuple[str, ...], section: str) -> Iterator[str]:
    for name, _, origin in given:
        if name not in known:
            yield f"{origin.name} is not a setting{_suggest(name, known, section, origin)}"


def _suggest(
    name: str, known: tuple[str, ...], section: str = "", origin: Origin = _DEFAULT
) -> str:
    """The nearest known name, written as its source writes it."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    if not near:
        return f"; known: {', '.join(known)}"
    written = near[0]
    if origin.source == "flag":
        written = flag_name(written)
    if origin.source == "environment":
        written = environment_name(section, written)
    return f"; did you mean {written}?"


def _invalid(
    error: ValidationError, origins: Mapping[str, Origin], secrets: frozenset[str]
) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            yield message
            continue
        name = str(problem["loc"][0])
        where = origins[name].name if name in origins else name
        value = "refused" if name in secrets else repr(problem["input"])
        yield f"{where} is {value}: {message[0].lower()}{message[1:]}"


def _secrets(cls: type[Settings]) -> frozenset[str]:
    """Settings whose values are never shown."""
    return frozenset(
        name
        for name, field in cls.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    )
