"""The life of a deletion: its events, every legal transition, and how far along a stage is."""

from collections.abc import Mapping
from enum import StrEnum

from app.models import Stage, Status


class Event(StrEnum):
    """What can happen to a deletion."""

    CLAIM = "claim"  # a worker takes it, or takes it over when the lease has expired
    YIELD = "yield"  # its run ended early and it waits for the next one
    COMPLETE = "complete"  # forgotten, or not known
    REVIEW = "review"  # the adapter missed a threshold
    FAIL = "fail"  # no further run can mend it
    CANCEL = "cancel"  # on request
    RETRY = "retry"  # an operator gives it a fresh budget of runs
    APPROVE = "approve"  # an operator publishes the adapter
    REJECT = "reject"  # an operator refuses the adapter


# Every legal transition. A running deletion that is canceled stays running, with `cancel_requested`, until its worker
# takes notice and the same event ends it.
TRANSITIONS: Mapping[tuple[Status, Event], Status] = {
    (Status.QUEUED, Event.CLAIM): Status.RUNNING,
    (Status.QUEUED, Event.CANCEL): Status.CANCELED,
    (Status.RUNNING, Event.CLAIM): Status.RUNNING,
    (Status.RUNNING, Event.YIELD): Status.QUEUED,
    (Status.RUNNING, Event.COMPLETE): Status.COMPLETED,
    (Status.RUNNING, Event.REVIEW): Status.NEEDS_REVIEW,
    (Status.RUNNING, Event.FAIL): Status.FAILED,
    (Status.RUNNING, Event.CANCEL): Status.CANCELED,
    (Status.NEEDS_REVIEW, Event.APPROVE): Status.COMPLETED,
    (Status.NEEDS_REVIEW, Event.REJECT): Status.FAILED,
    (Status.FAILED, Event.RETRY): Status.QUEUED,
    (Status.CANCELED, Event.RETRY): Status.QUEUED,
}

# Share of a deletion's time that each stage takes, on the embedded model.
STAGE_WEIGHTS: Mapping[Stage, float] = {
    Stage.VIEWS: 0.12,
    Stage.NEIGHBOURS: 0.12,
    Stage.UNLEARNING: 0.25,
    Stage.COMPRESSION: 0.03,
    Stage.EVALUATION: 0.45,
    Stage.PUBLISHING: 0.03,
}


def progress(stage: Stage, fraction: float) -> float:
    """The share of the whole deletion that is done when `fraction` of a stage is."""
    stages = list(Stage)
    before = sum(STAGE_WEIGHTS[earlier] for earlier in stages[: stages.index(stage)])
    return round(min(before + STAGE_WEIGHTS[stage] * min(max(fraction, 0.0), 1.0), 1.0), 4)
