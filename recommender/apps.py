"""Start-up: register the system checks, follow saves, find every `recommendations.py`."""

from importlib.util import find_spec

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class RecommenderConfig(AppConfig):
    name = "recommender"
    verbose_name = _("Search and recommendations")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from recommender import checks, identity, jobs
        from recommender.capture import accounts
        from recommender.catalog import sync

        checks.register()
        sync.connect()
        identity.connect()
        accounts.connect()
        jobs.connect()
        if find_spec("celery") is not None:  # without it `recommender_worker` does all the work
            from recommender import tasks

            tasks.connect()
        autodiscover_modules("recommendations")
