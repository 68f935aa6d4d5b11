"""Everything that a request needs, made once per process from the settings."""

from dataclasses import dataclass

from app.authentication import Authentication
from app.certificates import Certificates
from app.database import Database
from app.deletions import Deletions
from app.folders import make_private
from app.keys import Keys
from app.leases import Leases
from app.purging import Purger
from app.queue import Bell
from app.rates import Rates
from app.records import Records, open_records
from app.registry import Registry
from app.sealing import Sealer
from app.sessions import Sessions
from app.settings import Settings
from app.storage import Store, load_store
from app.sweeper import Sweeper
from app.watching import Watcher
from app.webhooks.courier import Courier
from app.webhooks.endpoints import Endpoints
from app.webhooks.outbox import Outbox
from app.workers import Workers


@dataclass(frozen=True)
class Services:
    """The parts of the web side, wired."""

    settings: Settings
    records: Records
    database: Database
    sealer: Sealer
    store: Store
    bell: Bell
    deletions: Deletions
    registry: Registry
    keys: Keys
    sessions: Sessions
    authentication: Authentication
    rates: Rates
    workers: Workers
    sweeper: Sweeper
    endpoints: Endpoints
    courier: Courier
    certificates: Certificates
    purger: Purger
    watcher: Watcher


def build(settings: Settings) -> Services:
    """Wire the parts; the data folder and its key are made if need be."""
    make_private(settings.data_dir)
    records = open_records(settings)
    database, sealer = records.database, records.sealer
    store = load_store(settings)
    bell = Bell(settings)
    certificates = Certificates(records, store)
    workers = Workers(database, settings)
    keys = Keys(database, sealer)
    sessions = Sessions(database, keys, sealer, settings)
    return Services(
        settings=settings,
        records=records,
        database=database,
        sealer=sealer,
        store=store,
        bell=bell,
        deletions=Deletions(database, sealer, store, settings),
        registry=Registry(database, settings),
        keys=keys,
        sessions=sessions,
        authentication=Authentication(keys, sessions, settings),
        rates=Rates(settings),
        workers=workers,
        endpoints=Endpoints(database, sealer, settings),
        courier=Courier(database, Outbox(database, sealer), settings),
        sweeper=Sweeper(database, Leases(database, sealer, settings), workers, store, bell, settings),
        certificates=certificates,
        purger=Purger(database, records.keys, store, certificates, settings),
        watcher=Watcher(database, settings.watch_seconds),
    )
