"""What the edge refuses, and how: one class per cause, each with its status and code.

Sorted by what the caller should do: mend the request, come back later, or tell us.
"""

from collections.abc import Sequence
from typing import ClassVar


class EdgeError(Exception):
    """Base of all that the edge answers with an error.

    Attributes:
        message: For the caller: what is wrong and what to do about it.
        param: The field or parameter at fault, if one is.
        retry_after_s: When coming back may help, if it may.
        policy: The limit that refused, if one did.
        headers: What else the response is to say.
    """

    # a class's own, but where an error is somebody else's
    status: int = 500
    code: str = "internal_error"
    title: str = "Something broke on our side"
    unused: ClassVar[bool] = False  # for certain: nothing of a model's was used
    final: bool = False  # sending the same again does no good, or could be billed besides

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        policy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.policy = policy
        self.headers: Sequence[tuple[bytes, bytes]] = ()


class Internal(EdgeError):
    """A fault of ours that nobody foresaw."""


# --- mend the request ------------------------------------------------------------


class MalformedRequest(EdgeError):
    """Not HTTP."""

    status, code, title = 400, "malformed_request", "The request is not valid HTTP"


class RequestTooSlow(EdgeError):
    """The request did not arrive in time."""

    status, code, title = 408, "request_too_slow", "The request did not arrive in time"


class UriTooLong(EdgeError):
    """The request line is over the limit."""

    status, code, title = 414, "uri_too_long", "The URL is too long"


class HeadTooLarge(EdgeError):
    """There are too many headers, or too large ones."""

    status, code, title = 431, "head_too_large", "The headers are too large"


class MalformedJson(EdgeError):
    """The body is not JSON in UTF-8."""

    status, code, title = 400, "malformed_json", "The body is not JSON"


class BadSignature(EdgeError):
    """A webhook that nobody we know has signed, or too long ago."""

    status, code, title = 400, "bad_signature", "The signature does not fit"


class InvalidParameter(EdgeError):
    """A query or path parameter."""

    status, code, title = 400, "invalid_parameter", "A parameter is wrong"


class Unsupported(EdgeError):
    """An argument that no model here can honour."""

    status, code, title = 400, "unsupported_parameter", "An argument is not supported"


class BadRequest(EdgeError):
    """A 422 of ours, as 400: of a dialect whose callers know no other."""

    status = 400

    def __init__(self, error: EdgeError) -> None:
        super().__init__(error.message, param=error.param, policy=error.policy)
        self.headers = error.headers
        self.code, self.title = error.code, error.title


class MissingKey(EdgeError):
    """No credentials."""

    status, code, title = 401, "missing_key", "An API key is needed"


class MalformedKey(EdgeError):
    """Not a key, or one with a typo: its checksum is wrong."""

    status, code, title = 401, "malformed_key", "This is not an API key"


class UnknownKey(EdgeError):
    """Well formed, and not one of ours."""

    status, code, title = 401, "unknown_key", "This API key does not exist"


class RevokedKey(EdgeError):
    """It was one of ours."""

    status, code, title = 401, "revoked_key", "This API key was revoked"


class ExpiredKey(EdgeError):
    """It had an end, which has come."""

    status, code, title = 401, "expired_key", "This API key has expired"


class NotAdmin(EdgeError):
    """Needs the operator's token."""

    status, code, title = 401, "admin_token_needed", "The admin token is needed"


class BudgetExhausted(EdgeError):
    """The month's budget, or the credit, does not reach for this request."""

    status, code, title = 402, "budget_exhausted", "The budget does not reach"


class PaymentFailed(EdgeError):
    """Stripe could not take the money."""

    status, code, title = 402, "payment_failed", "The payment failed"


class NotInPlan(EdgeError):
    """The account's plan does not have this model."""

    status, code, title = 403, "not_in_plan", "The plan does not include this"


class NotInScope(EdgeError):
    """The key was made for something else."""

    status, code, title = 403, "not_in_scope", "The key is not for this"


class NotGated(EdgeError):
    """A proxy asks about a path that no gate is declared for."""

    status, code, title = 403, "not_gated", "There is no gate for this"


class NotFound(EdgeError):
    """No such route or thing."""

    status, code, title = 404, "not_found", "There is nothing here"


class UnknownRequest(EdgeError):
    """Nothing is recorded under this id that the caller may see."""

    status, code, title = 404, "unknown_request", "No such request is recorded"


class UnknownJob(EdgeError):
    """Never asked by this account, or its result is older than it is kept."""

    status, code, title = 404, "unknown_job", "There is no such job"


class NoSubscription(EdgeError):
    """The account has none that could be shown or changed."""

    status, code, title = 404, "no_subscription", "There is no subscription"


class UnknownModel(EdgeError):
    """Never declared, never announced."""

    status, code, title = 404, "unknown_model", "No such model"


class UnknownTask(EdgeError):
    """No such task, or the model does not do it."""

    status, code, title = 404, "unknown_task", "No such task"


class MethodNotAllowed(EdgeError):
    """The route is there, the method is not."""

    status, code, title = 405, "method_not_allowed", "This method is not allowed here"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.headers = [(b"allow", allow.encode())]  # RFC 9110 demands it


class StillRunning(EdgeError):
    """The first request with the same Idempotency-Key has no answer yet."""

    status, code, title = 409, "still_running", "The same request still runs"


class JobBegun(EdgeError):
    """Too late to cancel it."""

    status, code, title = 409, "job_begun", "The job runs already, or is finished"


class NoWebhook(EdgeError):
    """Nobody has agreed with this account on how its events are signed."""

    status, code, title = 409, "no_webhook", "The account has no webhook"


class AlreadySubscribed(EdgeError):
    """An account has one subscription at a time."""

    status, code, title = 409, "already_subscribed", "There is a subscription already"


class CustomerConflict(EdgeError):
    """A customer of Stripe's is one account, and the other way round."""

    status, code, title = 409, "customer_conflict", "This customer is linked otherwise"


class BodyTooLarge(EdgeError):
    """More bytes than max_body_bytes."""

    status, code, title = 413, "body_too_large", "The body is too large"
    unused = True


class CompressedBody(EdgeError):
    """Content-Encoding: a small body could become an endless one."""

    status, code, title = 415, "compressed_body", "Compressed bodies are not taken"


class IdempotencyKeyReused(EdgeError):
    """One Idempotency-Key for two requests."""

    status, code, title = 422, "idempotency_key_reused", "The Idempotency-Key was used before"


class InvalidInput(EdgeError):
    """JSON, and not what the task takes."""

    status, code, title = 422, "invalid_input", "The input does not fit"


class LanguageNotSpoken(EdgeError):
    """The path names a language that the model does not read."""

    status, code, title = 422, "language_not_spoken", "The model does not speak this language"


class NulCharacter(EdgeError):
    """U+0000 in a text."""

    status, code, title = 422, "nul_character", "A text holds a NUL character"


class RefusedByStripe(EdgeError):
    """Stripe's own 4xx, in its own words."""

    status, code, title = 422, "refused_by_stripe", "Stripe refuses this"


class RefusedByModel(EdgeError):
    """The model's own 4xx; status and code are the model's."""

    title = "The model refuses this input"
    unused = True

    def __init__(self, message: str, *, status: int, code: str, param: str | None) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.code = code


# --- come back later --------------------------------------------------------------


class RateLimited(EdgeError):
    """A window's limit is reached."""

    status, code, title = 429, "rate_limited", "A rate limit is reached"


class TooManyAtOnce(EdgeError):
    """As many requests run as may."""

    status, code, title = 429, "too_many_at_once", "Too many requests at once"


class TooManyJobs(EdgeError):
    """As many jobs of the account wait as may."""

    status, code, title = 429, "too_many_jobs", "Too many jobs wait"


class JobsFull(EdgeError):
    """The stream of waiting jobs is at its size limit: the operator must act."""

    status, code, title = 503, "jobs_full", "No more jobs can be taken"


class TooManyConnections(EdgeError):
    """One address has as many connections as it may."""

    status, code, title = 429, "too_many_connections", "Too many connections"
    unused = True


class EdgeFull(EdgeError):
    """The edge has as many connections, or reads as many large bodies, as it can."""

    status, code, title = 503, "edge_full", "The edge is full"
    unused = True


class ModelNotRunning(EdgeError):
    """Declared, and no worker serves it now."""

    status, code, title = 503, "model_not_running", "The model is not running"
    unused = True


class ModelBusy(EdgeError):
    """Every worker is full."""

    status, code, title = 503, "model_busy", "The model is busy"
    unused = True


class BrokerAway(EdgeError):
    """NATS cannot be reached."""

    status, code, title = 503, "broker_unavailable", "The service is catching its breath"
    unused = True


class LedgerAway(EdgeError):
    """PostgreSQL cannot be reached, and this request cannot do without."""

    status, code, title = 503, "ledger_unavailable", "The ledger cannot be reached"


class BillingNotConfigured(EdgeError):
    """Stripe cannot be asked: the operator has set no key, or one that it does not take."""

    status, code, title = 503, "billing_not_configured", "Billing is not configured"


class StripeAway(EdgeError):
    """Stripe does not answer, and this request cannot do without."""

    status, code, title = 503, "stripe_unavailable", "Stripe cannot be reached"


class NotMetered(EdgeError):
    """The answer was there, its usage event is not known to be durable: not billed."""

    status, code, title = 503, "metering_unavailable", "The answer could not be metered"
    final = True  # its event is taken back, unless the edge dies before that


class MeterFull(EdgeError):
    """The usage stream is at its size limit: the operator must act."""

    status, code, title = 503, "usage_stream_full", "The meter is full"


class NotStored(EdgeError):
    """A webhook's event is not known to be durable: the sender sends it again."""

    status, code, title = 503, "event_not_stored", "The event could not be stored"


class JobCancelled(EdgeError):
    """What its caller finds in place of a job's result."""

    status, code, title = 499, "job_cancelled", "The job was cancelled"


class JobExpired(EdgeError):
    """A job whose turn did not come in time."""

    status, code, title = 504, "job_expired", "The job waited too long"


class JobLost(EdgeError):
    """A job that was lost with whoever ran it, again and again."""

    status, code, title = 502, "job_lost", "The job could not be run"


# --- tell us ----------------------------------------------------------------------


class WorkerFailed(EdgeError):
    """The model raised."""

    status, code, title = 502, "model_failed", "The model failed"
    unused = True


class WorkerGone(EdgeError):
    """The worker that took the request is silent."""

    status, code, title = 502, "worker_gone", "The worker died"


class BadReply(EdgeError):
    """A worker's answer is not of the task's result type."""

    status, code, title = 502, "bad_reply", "The model's answer has the wrong shape"
    unused = True


class DeadlinePassed(EdgeError):
    """Not answered in time."""

    status, code, title = 504, "deadline_passed", "The model took too long"
