"""What the commands that request a run have in common: their options, the trigger, and the error of a failed run."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from recommender.models import Run
from recommender.runs import supervision


def add_run_arguments(parser: CommandParser) -> None:
    """Add `--here` and `--no-wait`."""
    parser.add_argument("--here", action="store_true", help=_("run in this process: no worker is needed"))
    parser.add_argument("--no-wait", action="store_true", help=_("request the run and return at once"))


def trigger_of(options: dict[str, Any]) -> str:
    """The `trigger` of a run that is requested with these options."""
    return supervision.HERE if options["here"] else "command"


def refuse_unless_succeeded(run: Run) -> None:
    """Raise CommandError with the state and the reason of a run that did not succeed."""
    if run.state != Run.State.SUCCEEDED:
        outcome = {"run": run.pk, "state": run.get_state_display(), "reason": run.reason}
        raise CommandError(_("Run %(run)d %(state)s: %(reason)s") % outcome)
