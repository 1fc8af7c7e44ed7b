"""`manage.py recommender_encrypt`: encrypts stored queries by the newest key, so that older keys can be removed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from recommender.capture.encrypting import encrypt_stored
from recommender.exceptions import RecommenderError
from recommender.jobs import archiving
from recommender.models.encryption import current_cipher


class Command(BaseCommand):
    help = _("Encrypt the stored queries by the first of ENCRYPTION_KEYS.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            is_on = current_cipher() is not None
        except RecommenderError as error:
            raise CommandError(str(error)) from error
        if not is_on:
            raise CommandError(_("Set RECOMMENDER['ENCRYPTION_KEYS'] first."))
        report = encrypt_stored()
        if archiving.is_wanted() and archiving.update_now() is None:
            raise CommandError(_("Another process is writing the archive. Try again when it has ended."))
        self.stdout.write(_("%(n)d queries encrypted") % {"n": report.n_encrypted})
        if report.n_unreadable:
            message = _("%(n)d queries cannot be read by any of the keys. Put the missing key behind the others.")
            raise CommandError(message % {"n": report.n_unreadable})
