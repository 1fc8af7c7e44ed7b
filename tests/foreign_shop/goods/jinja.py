from django.conf import settings
from jinja2 import Environment


def environment(**options):
    env = Environment(**options)  # noqa: S701  Django passes autoescape=True
    env.globals["recommendations"] = lambda *args, **kwargs: ""
    if "recommender" in settings.INSTALLED_APPS:
        from recommender.blocks import recommendations

        env.globals["recommendations"] = recommendations
    return env
