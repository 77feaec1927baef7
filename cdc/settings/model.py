"""The settings, one declaration each.

Checks, error messages, `cdc config show` and the table in docs/configuration.md follow from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from cdc.settings.base import Source as Source
from cdc.settings.base import SourcedSettings
from cdc.settings.kinds import (
    DAY,
    BaseUrl,
    DatabaseUrl,
    Exempt,
    Issuer,
    Keys,
    MailAddress,
    Networks,
    Origins,
    ProxyUrl,
    Roles,
    Schedule,
    SmtpUrl,
    Zone,
    is_local,
)


class Settings(SourcedSettings):
    """All settings, checked. Built directly (not by ``load``) it reads no environment."""

    database_url: DatabaseUrl = Field(
        "",
        repr=False,
        description="The suite's database, in which `cdc migrate` installed our schema: "
        "`postgresql://user:password@host:port/database`. A direct address, no transaction pooler.",
    )
    secret_keys: Keys = Field(
        (),
        repr=False,
        max_length=10,
        description="Keys that encrypt signing secrets, header values and logins in the database, "
        "newest first; `cdc config new-key` makes one. Without: they are stored as they are.",
    )
    mapping: Path | None = Field(
        None,
        description="File that says what the suite's tables mean. Without: the interview suite's "
        "own names.",
    )
    base_url: BaseUrl | None = Field(
        None, description="Base URL of the suite's API; without, the one in the mapping."
    )
    allow_http: bool = Field(
        False, description="Accept endpoints with plain `http`; otherwise `https` only."
    )
    allowed_networks: Networks = Field(
        (),
        description="Networks that may be dialled although they are not public, such as "
        "`10.20.0.0/16`. All others that are not public are refused.",
    )
    denied_networks: Networks = Field(
        (),
        description="Networks that may not be dialled although they are public or allowed: what is "
        "inside under public addresses, as with IPv6.",
    )
    proxy: ProxyUrl | None = Field(
        None,
        repr=False,
        description="HTTP proxy through which endpoints are called, `http://user:password@host:port`"
        "; by CONNECT, also those with plain `http`. Without: they are called directly.",
    )
    proxy_resolves: bool = Field(
        False,
        description="The proxy resolves names of endpoints, and must refuse internal addresses "
        "itself; otherwise it only gets addresses that were checked here.",
    )
    no_proxy: Exempt = Field(
        (),
        description="Hosts called without the proxy: names and what is below them, `.suffix`, "
        "addresses, networks, each also with `:port`; `*` for all.",
    )
    tls_ca_file: Path | None = Field(
        None,
        description="Certificates to trust in addition to the system's, PEM: a private CA, for all "
        "webhooks.",
    )
    tls_cert_file: Path | None = Field(
        None,
        description="Client certificate, followed by its chain, PEM: shown to whichever endpoint "
        "asks for one.",
    )
    tls_key_file: Path | None = Field(
        None,
        description="Its private key, PEM, not encrypted. Without: in the certificate's file.",
    )
    tls_profiles: Path | None = Field(
        None,
        description="Folder of TLS profiles: a folder each, with `ca.pem`, `cert.pem`, `key.pem` "
        "as far as they are needed, for the webhooks that name it (`--tls-profile`).",
    )
    http_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port for health and metrics; 0 takes any free one. Without: not served.",
    )
    http_host: str = Field(
        "127.0.0.1", min_length=1, description="Address that health and metrics listen on."
    )
    ready_lag: float | None = Field(
        None,
        gt=0,
        le=DAY,
        description="Age in seconds of the oldest delivery whose receiver is healthy, above which "
        "`/readyz` answers 503. Without: no bound.",
    )
    traces: bool = Field(
        False,
        description="Send a span for each attempt to OpenTelemetry, by OTLP over HTTP, where the "
        "environment's `OTEL_EXPORTER_OTLP_ENDPOINT` says. Needs `pip install "
        "'cdc-webhooks[otel]'`.",
    )
    doorbell: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether writers wake a sleeping daemon by NOTIFY. `auto`: yes, unless the "
        "server has `max_prepared_transactions > 0`. Off, changes are found within a second.",
    )
    window: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Deliveries held in memory for one webhook; those with keys of more than 1 kB "
        "together count several times.",
    )
    total_window: int = Field(
        50_000,
        ge=1,
        le=10_000_000,
        description="Deliveries held in memory by one process, counted like that.",
    )
    max_concurrency: int = Field(
        10,
        ge=1,
        le=1000,
        description="Requests in flight at once to one webhook that has no cap of its own.",
    )
    unrecorded_limit: int = Field(
        500,
        ge=1,
        le=1_000_000,
        description="Attempts that have ended and are not recorded yet, above which no request is "
        "started. A daemon that is killed sends these again, and those in flight.",
    )
    attempt_timeout: float = Field(
        15.0, ge=0.05, le=300, description="Seconds for a whole attempt, from dialling to the end."
    )
    connect_timeout: float = Field(
        5.0, ge=0.05, le=60, description="Seconds to connect, TLS included."
    )
    answer_limit: int = Field(
        65_536, ge=1024, le=131_072, description="Bytes read of an answer's body."
    )
    excerpt_limit: int = Field(
        1024, ge=0, le=1024, description="Bytes of an answer's body kept in the attempt log."
    )
    retry_schedule: Schedule = Field(
        (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
        max_length=100,
        description="Seconds between one attempt of a delivery and the next; after the last one "
        "it is dead.",
    )
    retry_jitter: float = Field(
        0.2,
        ge=0,
        le=0.9,
        description="Share by which each of these delays is stretched or shortened at random.",
    )
    retry_after_cap: float = Field(
        3600,
        ge=0,
        le=7 * DAY,
        description="Longest wait, in seconds, that a receiver can ask for by `Retry-After`.",
    )
    breaker_failures: int = Field(
        5, ge=1, le=1000, description="Failures in a row that make a lane stop and only probe."
    )
    breaker_first_probe: float = Field(
        1.0, ge=0.01, le=3600, description="Seconds to the first probe; doubled after each failure."
    )
    breaker_max_probe: float = Field(
        60, ge=0.01, le=DAY, description="Longest time, in seconds, between two probes."
    )
    suspend_after_days: float = Field(
        5,
        gt=0,
        le=365,
        description="Days of failing without one success after which a webhook is suspended.",
    )
    log_days: int = Field(14, ge=1, le=30, description="Days that the attempt log is kept.")
    held_days: float = Field(
        14,
        gt=0,
        le=365,
        description="Days that deliveries are kept while their webhook is paused or suspended.",
    )
    dead_days: float = Field(
        14,
        gt=0,
        le=365,
        description="Days that dead deliveries are kept, to be looked at and replayed.",
    )
    webhooks_per_company: int = Field(
        100, ge=1, le=10_000, description="Webhooks that one company may have."
    )
    webhooks_per_event: int = Field(
        20, ge=1, le=1000, description="Webhooks that one company may have on one event."
    )
    stop_grace: float = Field(
        10,
        ge=0,
        le=600,
        description="Seconds that requests in flight may take to end when the daemon stops.",
    )
    serve_host: str = Field(
        "127.0.0.1", min_length=1, description="Address that `cdc serve` listens on."
    )
    serve_port: int = Field(
        8080, ge=0, le=65535, description="Port of `cdc serve`; 0 takes any free one."
    )
    serve_url: BaseUrl | None = Field(
        None,
        description="URL under which clients reach `cdc serve`, with the path that a proxy puts "
        "before, if any. Without: the address it listens on.",
    )
    serve_trusted_proxies: Networks = Field(
        (),
        description="Networks of reverse proxies whose `X-Forwarded-For` and `X-Request-Id` are "
        "believed.",
    )
    serve_tls_cert_file: Path | None = Field(
        None,
        description="Certificate of `cdc serve`, followed by its chain, PEM. Without: plain http, "
        "for loopback or behind a proxy.",
    )
    serve_tls_key_file: Path | None = Field(
        None,
        description="Its private key, PEM, not encrypted. Without: in the certificate's file.",
    )
    challenge: Literal["echo", "accept", "off"] = Field(
        "echo",
        description="How an endpoint that its company enters is proven before the first delivery: "
        "it answers with the challenge, it accepts it with any 2xx, or not at all.",
    )
    serve_frame_ancestors: Origins = Field(
        (),
        description="Origins whose pages may show the portal in a frame, such as "
        "`https://suite.example.com`. Needs https, except on this host.",
    )
    serve_theme: Path | None = Field(
        None, description="File with name, logo and accent of console and portal, TOML."
    )
    serve_zone: Zone = Field("UTC", description="Time zone of readers whose browser names none.")
    oidc_issuer: Issuer | None = Field(
        None,
        description="OpenID Connect provider that people sign in to the console with, such as "
        "`https://login.example.com/realms/staff`. Needs `serve_url` and the extra `oidc`.",
    )
    oidc_client_id: str = Field("", description="Id that the provider knows `cdc serve` by.")
    oidc_client_secret: str = Field(
        "", repr=False, description="Its secret. Without: a public client, by PKCE alone."
    )
    oidc_claim: str = Field(
        "groups",
        min_length=1,
        description="Claim of the ID token with a person's roles; `a.b` is `b` within `a`.",
    )
    oidc_roles: Roles = Field(
        (),
        description="Values of the claim, and the scope that each gives (admin, operator, read): "
        "`platform=admin,helpdesk=operator,staff=read`. The widest counts.",
    )
    smtp_url: SmtpUrl | None = Field(
        None,
        description="Mail server for notices: `smtps://user@host:465`, or `smtp://host:587`, which "
        "uses STARTTLS if offered and, with a user, always. Needs `pip install "
        "'cdc-webhooks[mail]'`. Without: no mail is sent.",
    )
    smtp_password_file: Path | None = Field(
        None, description="File with the password of the user in `smtp_url`."
    )
    smtp_sender: MailAddress | None = Field(
        None, description="Address that mail comes from. Needed with `smtp_url`."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="Form of log lines. `auto`: text in a terminal, json otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least serious log lines to write."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_was_meant(cls, value: object, info: ValidationInfo) -> object:
        # Python counts true as 1; a person who wrote `window = true` meant something else.
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("true and false have no meaning here")
        # A line end comes with values out of files and templates, and belongs to none.
        return value.strip() if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_small_letters(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _limits_fit_together(self) -> Self:
        for smaller, larger in (
            ("connect_timeout", "attempt_timeout"),
            ("breaker_first_probe", "breaker_max_probe"),
            ("window", "total_window"),
            ("excerpt_limit", "answer_limit"),
        ):
            low, high = getattr(self, smaller), getattr(self, larger)
            if low > high:
                raise ValueError(f"{smaller} ({low:g}) may not exceed {larger} ({high:g})")
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_key_file is set, and tls_cert_file is not")
        if self.serve_tls_key_file is not None and self.serve_tls_cert_file is None:
            raise ValueError("serve_tls_key_file is set, and serve_tls_cert_file is not")
        plain = self.serve_tls_cert_file is None and not (self.serve_url or "").startswith("https:")
        if self.serve_frame_ancestors and plain and not is_local(self.serve_url):
            raise ValueError("serve_frame_ancestors is set, and serve_url begins with http://")
        if self.oidc_issuer is not None:
            for needed in ("oidc_client_id", "oidc_roles", "serve_url"):
                if not getattr(self, needed):
                    raise ValueError(f"oidc_issuer is set, and {needed} is not")
        if self.smtp_url is not None and self.smtp_sender is None:
            raise ValueError("smtp_url is set, and smtp_sender is not")
        return self
