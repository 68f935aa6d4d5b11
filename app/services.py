"""Everything that a request needs, made once per process from the settings."""

from dataclasses import dataclass

from app.database import Database
from app.deletions import Deletions
from app.leases import Leases
from app.queue import Bell
from app.registry import Registry
from app.sealing import Sealer, load_sealer
from app.settings import Settings
from app.storage import Store, load_store
from app.sweeper import Sweeper
from app.workers import Workers


@dataclass(frozen=True)
class Services:
    """The parts of the web side, wired."""

    settings: Settings
    database: Database
    sealer: Sealer
    store: Store
    bell: Bell
    deletions: Deletions
    registry: Registry
    workers: Workers
    sweeper: Sweeper


def build(settings: Settings) -> Services:
    """Wire the parts; the data folder and its key are made if need be."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.database, settings.database_pool)
    sealer = load_sealer(settings)
    store = load_store(settings)
    bell = Bell(settings)
    workers = Workers(database, settings)
    return Services(
        settings=settings,
        database=database,
        sealer=sealer,
        store=store,
        bell=bell,
        deletions=Deletions(database, sealer, store, settings),
        registry=Registry(database, settings),
        workers=workers,
        sweeper=Sweeper(database, Leases(database, sealer, settings), workers, store, bell, settings),
    )
