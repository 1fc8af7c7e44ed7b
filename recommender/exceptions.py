"""The errors of this app; every message says what was expected, what was found and how to repair it."""

from __future__ import annotations

from collections.abc import Mapping


class RecommenderError(Exception):
    """Anything this app refuses, with the repair in its message."""


class ConfigurationError(RecommenderError):
    """A setting, a Catalog or a tracked page that cannot work as written."""


class InvalidEvent(RecommenderError):
    """An event that cannot be stored; `field` names the part at fault."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class TokenEnded(RecommenderError):
    """A token that has expired, was revoked, or was never given out; the message says what to do instead."""


class BundleError(RecommenderError):
    """A bundle whose files are missing, changed or of an unknown format."""


class NoNumbers(BundleError):
    """A model whose output is NaN or infinite."""


class SnapshotError(RecommenderError):
    """A snapshot of the shelf that is missing, cut off, or not of this version."""


class BundleUnreachable(RecommenderError):
    """The storage of the bundles does not answer: nothing is known against the bundle, so try again."""


class ArchiveError(RecommenderError):
    """The archive of events has files that are gone or damaged."""


class RunError(RecommenderError):
    """A training run that may not be started, cancelled, promoted or rolled back now."""


class RuleError(RecommenderError):
    """A merchandiser's rule that makes no sense or may not take this step; `errors` says what is wrong, by field."""

    def __init__(self, message: str, *, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.errors = dict(errors or {})


class StaleRule(RuleError):
    """Somebody else has changed the rule since it was read: nothing was written."""


class SegmentError(RecommenderError):
    """Segments that cannot be merged or divided so, or not any more; nothing was changed."""


class WebhookError(RecommenderError):
    """An address that nothing may be posted to; `fault` is the word by which the log of deliveries explains it."""

    def __init__(self, message: str, *, fault: str) -> None:
        super().__init__(message)
        self.fault = fault


class LeaseLost(RunError):
    """The run's fencing token is stale: another process owns the run, this one must stop."""


class InsufficientData(RecommenderError):
    """Too little evidence to train or to judge; the message counts what is there and what is needed."""


class TooLittleTime(RecommenderError):
    """The time box of a run ended a stage before it learned; the message names the minutes that it needs."""


class MissingDependency(RecommenderError):
    """An optional package is not installed; the message names the extra to install."""


class EngineError(RecommenderError):
    """A vector engine that does not answer, lacks a collection, or was given vectors that do not belong into it."""
