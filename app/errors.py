"""Every error of the service as one tree; a docstring is the default message and a class fixes the HTTP status.

A problem's `type` is `/problems/<class name in kebab case>`: renaming a class breaks a promise to callers.
"""

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

PROBLEM_PREFIX = "/problems/"
Fields = list[dict[str, str]]  # field, type and detail of each thing that is wrong


class R2FError(Exception):
    """Something went wrong."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title())
        self.detail = detail

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]


class LeaseLost(R2FError):
    """The deletion belongs to another worker now; this run's work must be thrown away."""


class RunCanceled(R2FError):
    """The deletion was canceled while it ran."""


class RunStopped(R2FError):
    """The worker is shutting down and gives the deletion back to the queue."""


class RingFailed(R2FError):
    """The broker did not take the doorbell message."""


class SealBroken(R2FError):
    """A sealed record cannot be opened with the keys at hand."""


class KeyNotFound(R2FError):
    """There is no API key with this id."""


class UnsafeKey(R2FError):
    """The master key cannot be used."""


class Problem(R2FError):
    """An error that a caller of the API sees."""

    status: ClassVar[int] = 500

    def __init__(
        self, detail: str | None = None, *, headers: Mapping[str, str] | None = None, fields: Fields | None = None
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.fields = fields

    @classmethod
    def slug(cls) -> str:
        """The class name in kebab case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def uri(cls) -> str:
        """The stable `type` of the problem."""
        return PROBLEM_PREFIX + cls.slug()


class MalformedJson(Problem):
    """The body is not valid JSON in UTF-8."""

    status = 400


class MalformedId(Problem):
    """The id in the path does not have the form of an id."""

    status = 400


class MalformedCursor(Problem):
    """The cursor was not made by this service."""

    status = 400


class MalformedIdempotencyKey(Problem):
    """The Idempotency-Key must be 1 to 255 visible ASCII characters, quoted or bare, sent once."""

    status = 400


class KeyMissing(Problem):
    """This call needs an API key: send `Authorization: Bearer r2f_…`."""

    status = 401


class KeyRefused(Problem):
    """The API key is not one that works here, or no longer."""

    status = 401


class SessionRefused(Problem):
    """The session has ended; log in again."""

    status = 401


class ScopeMissing(Problem):
    """The API key does not have the scope that this call needs."""

    status = 403


class CrossSite(Problem):
    """A call that changes something came from a page of another site."""

    status = 403


class PathNotFound(Problem):
    """There is nothing at this path."""

    status = 404


class DeletionNotFound(Problem):
    """There is no deletion with this id."""

    status = 404


class ModelNotFound(Problem):
    """There is no model with this id."""

    status = 404


class AdapterFileNotFound(Problem):
    """The adapter has no file of this name."""

    status = 404


class PlotNotFound(Problem):
    """The report has nothing to draw this plot from."""

    status = 404


class WebhookNotFound(Problem):
    """There is no webhook with this id."""

    status = 404


class ProblemNotFound(Problem):
    """There is no problem type of this name."""

    status = 404


class AdapterExpired(Problem):
    """The adapter was deleted when its retention was over."""

    status = 410


class MethodNotAllowed(Problem):
    """This path does not answer to that method."""

    status = 405


class RequestInFlight(Problem):
    """A request with this Idempotency-Key is being written at this moment; send it again shortly."""

    status = 409


class AlreadyFinished(Problem):
    """The deletion has finished and cannot be canceled."""

    status = 409


class NotRetryable(Problem):
    """Only a failed or canceled deletion can be retried."""

    status = 409


class NotInReview(Problem):
    """Only a deletion that needs review can be approved or rejected."""

    status = 409


class ReportNotReady(Problem):
    """The deletion has no report yet."""

    status = 409


class AdapterNotReady(Problem):
    """The deletion has no adapter yet."""

    status = 409


class AdapterInReview(Problem):
    """The adapter missed a threshold and is not published until an operator approves it."""

    status = 409


class NoAdapter(Problem):
    """The deletion ended without an adapter."""

    status = 409


class CertificateNotReady(Problem):
    """Only a completed deletion has a certificate."""

    status = 409


class CommitmentPurged(Problem):
    """The salt was destroyed with the request's key."""

    status = 410


class NotPurgeable(Problem):
    """Only what has ended can be purged; cancel it first, or decide on it."""

    status = 409


class NotExtendable(Problem):
    """The due date cannot be extended."""

    status = 409


class ModelExists(Problem):
    """A model with this id is registered already."""

    status = 409


class BodyTooLarge(Problem):
    """The body is larger than the service accepts."""

    status = 413


class UnsupportedMediaType(Problem):
    """The body must be sent as application/json."""

    status = 415


class RangeNotSatisfiable(Problem):
    """The Range lies outside the file."""

    status = 416


class InvalidRequest(Problem):
    """The request does not have the documented form; `errors` lists the fields."""

    status = 422


class UnknownField(InvalidRequest):
    """The request has a field that the service does not know."""


class UnknownParameter(InvalidRequest):
    """The query has a parameter that this call does not know."""


class UnknownModel(InvalidRequest):
    """No model with this id is registered."""


class NoTargets(InvalidRequest):
    """A deletion needs at least one target."""


class TooManyTargets(InvalidRequest):
    """A deletion takes at most 16 targets."""


class BlankAnswer(InvalidRequest):
    """The answer to forget is empty, or holds no letter or digit."""


class SpanNotInText(InvalidRequest):
    """A span does not occur in its text."""


class SpanStartsText(InvalidRequest):
    """A span starts its text, so that no words are left to recall it by."""


class RetainedTarget(InvalidRequest):
    """What must go is also asked to be kept."""


class PromptTooLong(InvalidRequest):
    """A prompt or text is longer than the model's context, or than the service takes."""


class DecoderRankMismatch(InvalidRequest):
    """The decoder was trained for another sketch rank."""


class UnknownDecoder(InvalidRequest):
    """There is no decoder of this name or at this path."""


class NotAModel(InvalidRequest):
    """The folder does not hold a model that can be served."""


class UnsupportedModel(InvalidRequest):
    """The model is of a kind that the method does not support."""


class HubNotAllowed(InvalidRequest):
    """Downloading from a model hub is switched off (R2F_ALLOW_HUB)."""


class SourceNotAllowed(InvalidRequest):
    """The folder is not one that models and decoders may come from (R2F_MODEL_FOLDERS)."""


class CallbackNotAllowed(InvalidRequest):
    """The service may not call this address."""


class UnknownCallback(InvalidRequest):
    """No enabled webhook is registered for the callback_url."""


class IdempotencyKeyReused(Problem):
    """This Idempotency-Key was used with another body."""

    status = 422


class TooManyRequests(Problem):
    """Too many calls by this API key, or from this address without one; try again after the seconds of Retry-After."""

    status = 429


class InternalError(Problem):
    """The service failed; the request may be sent again."""


class ArtefactMissing(Problem):
    """The adapter's file is not in the store."""


class DatabaseUnavailable(Problem):
    """The database does not answer; the request may be sent again."""

    status = 503


class NotMigrated(Problem):
    """The database does not have this version's tables: run `r2f migrate`."""

    status = 503


class StoreUnavailable(Problem):
    """The artefact store does not answer, or cannot be written; the request may be sent again."""

    status = 503


class KeyNotAtHand(Problem):
    """This process does not hold the master key that is needed: it is being rotated, or another one was given."""

    status = 503


class NotReady(Problem):
    """The service is not ready."""

    status = 503


class NoDiskSpace(Problem):
    """There is no disk space left to store this."""

    status = 507


def problem_types(parent: type[Problem] = Problem) -> Iterator[type[Problem]]:
    """Every problem that a caller can meet, in the order of this file."""
    for child in parent.__subclasses__():
        yield child
        yield from problem_types(child)
