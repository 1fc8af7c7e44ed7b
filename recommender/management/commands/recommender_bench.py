"""`manage.py recommender_bench`: measures this installation and says what would make it faster."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from recommender.management.measuring import N_CALLS, Measured, Unmeasurable, measure


class Command(BaseCommand):
    help = _("Measure searches, lists, memory and events on your own catalogue, and say what to change.")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help=_("print the report as JSON"))
        parser.add_argument("--calls", type=int, default=N_CALLS, help=_("how often each kind is called"))

    def handle(self, *args: Any, **options: Any) -> None:
        if options["calls"] < 1:
            raise CommandError(_("--calls must be at least 1."))
        try:
            measured = measure(n_calls=options["calls"])
        except Unmeasurable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            json.dumps(asdict(measured), indent=1, ensure_ascii=False) if options["json"] else _in_words(measured)
        )


def _in_words(measured: Measured) -> str:
    figures = measured.figures
    lines = [
        _("Catalogue: %(n_items)d items, loaded in %(load_seconds).1f s.") % figures,
        _("Memory: %(resident_mb).0f MB, of which %(catalogue_mb).0f MB came by loading.") % figures,
    ]
    names = {
        "search": _("Search"),
        "list": _("List"),
        "rerank": _("Order of 100 items"),
        "encoding": _("Encoding of a query"),
    }
    for name, text in names.items():
        if f"{name}_p50_ms" in figures:
            facts = {"name": text, "p50": figures[f"{name}_p50_ms"], "p99": figures[f"{name}_p99_ms"]}
            lines.append(_("%(name)s: half within %(p50).1f ms, 99 in 100 within %(p99).1f ms.") % facts)
    lines.append(_("Events: %(events_per_second).0f per second, by one process, without the commit.") % figures)
    lines.append(_("Encoder: %(runtime)s.") % {"runtime": measured.runtime})
    lines += [f"-> {text}" for text in measured.advice] or [_("Nothing to change was found.")]
    return "\n".join(lines)
