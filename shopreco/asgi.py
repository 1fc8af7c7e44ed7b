"""The ASGI entry point of the demo."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")

application = get_asgi_application()
