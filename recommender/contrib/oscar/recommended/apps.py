"""An app of one template."""

from django.apps import AppConfig


class RecommendedConfig(AppConfig):
    name = "recommender.contrib.oscar.recommended"
    label = "recommender_oscar_recommended"
