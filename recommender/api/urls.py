"""Paths of version 1; any other path below them is answered with a problem in JSON too."""

from django.apps import apps
from django.urls import path, re_path

from recommender.api import erasures, lists, recording, rules, tokens, visitor

urlpatterns = [
    path("visitors", tokens.VisitorsView.as_view(), name="visitors"),
    path("events", recording.EventsView.as_view(), name="events"),
    path("search", lists.SearchView.as_view(), name="search"),
    path("suggest", lists.SuggestView.as_view(), name="suggest"),
    path("recommendations/<str:slot>", lists.RecommendationsView.as_view(), name="recommendations"),
    path("me", visitor.MeView.as_view(), name="me"),
    path("me/export", visitor.ExportView.as_view(), name="export"),
    path("erasures/<str:erasure_id>", erasures.ErasureView.as_view(), name="erasure"),
    path("me/tokens", tokens.TokensView.as_view(), name="tokens"),
    path("me/tokens/<str:token_id>", tokens.TokenView.as_view(), name="token"),
    path("me/link", tokens.LinkView.as_view(), name="link"),
    path("tokens/refresh", tokens.RefreshView.as_view(), name="refresh"),
    path("rules", rules.RulesView.as_view(), name="rules"),
    path("rules/<str:rule_id>", rules.RuleView.as_view(), name="rule"),
    path("rules/<str:rule_id>/<str:step>", rules.RuleStepView.as_view(), name="rule_step"),
    re_path("", visitor.UnknownEndpointView.as_view()),
]

if apps.is_installed("drf_spectacular"):
    from recommender.api import schema  # noqa: F401 - a host's own OpenAPI document then describes these endpoints too
