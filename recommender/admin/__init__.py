"""Pages in Django's admin: model runs and bundles, personas, and behaviour and items to look at."""

from recommender.admin.alarms import AlarmAdmin
from recommender.admin.audit import ApprovalAdmin
from recommender.admin.bundles import BundleAdmin
from recommender.admin.credentials import ApiKeyAdmin, AppTokenAdmin, VisitorLinkAdmin
from recommender.admin.erasures import ErasureAdmin
from recommender.admin.events import EventAdmin, ImpressionAdmin, VisitorAdmin
from recommender.admin.experiments import ExperimentAdmin
from recommender.admin.exposure import ExposureAdmin, ExposureFloorAdmin
from recommender.admin.health import HealthAdmin
from recommender.admin.items import ItemAdmin, ItemStatisticsAdmin
from recommender.admin.judgements import JudgementAdmin
from recommender.admin.outreach import OutreachAdmin
from recommender.admin.overview import OverviewAdmin
from recommender.admin.personas import PersonaAdmin
from recommender.admin.profit import ProfitDialAdmin
from recommender.admin.queries import QueryStatisticsAdmin, SynonymAdmin
from recommender.admin.rejections import EventCountAdmin, RejectedEventAdmin
from recommender.admin.rules import RuleAdmin
from recommender.admin.runs import RunAdmin
from recommender.admin.segments import SegmentAdmin
from recommender.admin.watched_queries import WatchedQueryAdmin
from recommender.admin.webhooks import WebhookAdmin
from recommender.admin.workbench import WorkbenchAdmin

__all__ = [
    "AlarmAdmin",
    "ApiKeyAdmin",
    "AppTokenAdmin",
    "ApprovalAdmin",
    "BundleAdmin",
    "ErasureAdmin",
    "EventAdmin",
    "EventCountAdmin",
    "ExperimentAdmin",
    "ExposureAdmin",
    "ExposureFloorAdmin",
    "HealthAdmin",
    "ImpressionAdmin",
    "ItemAdmin",
    "ItemStatisticsAdmin",
    "JudgementAdmin",
    "OutreachAdmin",
    "OverviewAdmin",
    "PersonaAdmin",
    "ProfitDialAdmin",
    "QueryStatisticsAdmin",
    "RejectedEventAdmin",
    "RuleAdmin",
    "RunAdmin",
    "SegmentAdmin",
    "SynonymAdmin",
    "VisitorAdmin",
    "VisitorLinkAdmin",
    "WatchedQueryAdmin",
    "WebhookAdmin",
    "WorkbenchAdmin",
]
