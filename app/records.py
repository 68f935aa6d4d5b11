"""The database, opened with the keys that its records need: master keys, the service's secrets, the audit log's key."""

from dataclasses import dataclass

from app.audit import Journal
from app.database import Database
from app.masterkeys import MasterKeys, load_master_keys
from app.sealing import LocalSealer
from app.settings import Settings
from app.vault import Vault


@dataclass(frozen=True)
class Records:
    """A database that can be written to, and what opens its sealed records."""

    database: Database
    keys: MasterKeys
    vault: Vault
    sealer: LocalSealer


def open_records(settings: Settings) -> Records:
    """Open the database that the settings name; it need not be migrated yet."""
    database = Database(settings.database, settings.database_pool)
    keys = load_master_keys(settings)
    vault = Vault(database, keys)
    database.journal = Journal(lambda: vault.secret("audit"))
    return Records(database, keys, vault, LocalSealer(keys, vault))
