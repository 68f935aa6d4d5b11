"""Who calls the service, and what they may do."""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_TENANT = "default"


class Scope(StrEnum):
    """What a caller may do, among its own tenant's records."""

    DELETIONS_WRITE = "deletions:write"  # submit and cancel
    DELETIONS_READ = "deletions:read"  # list, follow, read reports
    ADAPTERS_READ = "adapters:read"  # download adapters
    ADMIN = "admin"  # everything: retry, approve, reject and register models too


@dataclass(frozen=True)
class Caller:
    """Who makes a call. Every record that it makes or sees belongs to its tenant."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None

    def may(self, scope: Scope) -> bool:
        """Whether a scope, or `admin`, which stands for them all, was granted."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def actor(self) -> str:
        """The caller's name in the audit log."""
        return self.key_id or "local"


# Whoever is let in without a key: at a keyboard of this machine, or through a proxy that has asked who it is.
LOCAL = Caller(DEFAULT_TENANT, frozenset(Scope), None)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach, or be, this address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
