"""Start-up in an Oscar shop: register the checks and listen to Oscar's signals; the core finds the rest."""

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class RecommenderOscarConfig(AppConfig):
    name = "recommender.contrib.oscar"
    label = "recommender_oscar"
    verbose_name = _("Search and recommendations for Oscar")

    def ready(self) -> None:
        from recommender.contrib.oscar import checks

        checks.register()
        if apps.is_installed("recommender") and not checks.missing_apps():
            from recommender.contrib.oscar import receivers

            receivers.connect()
