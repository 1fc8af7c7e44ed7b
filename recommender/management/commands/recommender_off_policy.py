"""`manage.py recommender_off_policy`: what other bundles would have earned at the positions that explored."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender.exceptions import BundleError
from recommender.management import off_policy
from recommender.models import Bundle


class Command(BaseCommand):
    help = _("Estimate from explored positions how many clicks each bundle would have earned there.")

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--bundle", action="append", default=[], help=_("The name of a bundle; default: all usable.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        positions = off_policy.explored_positions(until=timezone.now())
        if len(positions) < off_policy.FEWEST_POSITIONS:
            raise CommandError(
                _("There are %(n)d explored positions, and %(least)d are needed. Set RECOMMENDER['EXPLORE'] and wait.")
                % {"n": len(positions), "least": off_policy.FEWEST_POSITIONS}
            )
        clicked = sum(position.is_clicked for position in positions) / len(positions)
        self.stdout.write(
            _("%(n)d explored positions, clicks per position %(rate).4f") % {"n": len(positions), "rate": clicked}
        )
        for bundle in self._bundles(options["bundle"]):
            self._write(bundle, positions)

    def _bundles(self, names: list[str]) -> list[Bundle]:
        usable = Bundle.objects.exclude(state=Bundle.State.QUARANTINED).order_by("-created_at")
        chosen = [bundle for bundle in usable if not names or any(bundle.name.startswith(name) for name in names)]
        if not chosen:
            raise CommandError(_("There is no such bundle. The bundles are: %s.") % ", ".join(map(str, usable)))
        return chosen

    def _write(self, bundle: Bundle, positions: list[off_policy.ExploredPosition]) -> None:
        try:
            logged = off_policy.logged(positions, off_policy.served_by(bundle.name))
        except BundleError as error:
            self.stderr.write(f"{bundle}: {error}")
            return
        if not logged.reward:
            self.stdout.write(_("%s: it has no model of its own to order these items by.") % bundle)
            return
        for name, estimate in logged.estimates().items():
            bounds = f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"
            self.stdout.write(f"{bundle} {bundle.state:<10} {name:<6} {bounds}  n {estimate.n_effective:.0f}")
