"""Everything that is stored, one module per subject."""

from recommender.models.alarms import Alarm
from recommender.models.approvals import Approval
from recommender.models.collections import VectorCollection
from recommender.models.credentials import ApiKey, AppToken, Scope, VisitorLink
from recommender.models.erasures import Erasure, Tombstone
from recommender.models.events import Event, Impression, Visitor
from recommender.models.experiments import Experiment
from recommender.models.exposure import Exposure, ExposureDay, ExposureFloor, GroupExposure, GroupFigures
from recommender.models.items import Item, ItemStatistics, ItemVector, PriceChange
from recommender.models.jobs import Health, Job, Worker
from recommender.models.judgements import Judgement
from recommender.models.outreach import Outreach
from recommender.models.overview import (
    AnswerTimes,
    HourlyFigures,
    HourlyRevenue,
    HourlyTraffic,
    Overview,
    QueryFigures,
)
from recommender.models.personas import Persona
from recommender.models.profit import ProfitDial
from recommender.models.queries import QueryStatistics, Synonym
from recommender.models.rejections import EventCount, RejectedEvent
from recommender.models.rules import Rule
from recommender.models.runs import Bundle, Run
from recommender.models.segments import Segment
from recommender.models.unpaid import UnpaidRow
from recommender.models.webhooks import Delivery, Webhook, WebhookMember
from recommender.models.workbench import WatchedQuery, WatchedResult, Workbench

__all__ = [
    "Alarm",
    "AnswerTimes",
    "ApiKey",
    "AppToken",
    "Approval",
    "Bundle",
    "Delivery",
    "Erasure",
    "Event",
    "EventCount",
    "Experiment",
    "Exposure",
    "ExposureDay",
    "ExposureFloor",
    "GroupExposure",
    "GroupFigures",
    "Health",
    "HourlyFigures",
    "HourlyRevenue",
    "HourlyTraffic",
    "Impression",
    "Item",
    "ItemStatistics",
    "ItemVector",
    "Job",
    "Judgement",
    "Outreach",
    "Overview",
    "Persona",
    "PriceChange",
    "ProfitDial",
    "QueryFigures",
    "QueryStatistics",
    "RejectedEvent",
    "Rule",
    "Run",
    "Scope",
    "Segment",
    "Synonym",
    "Tombstone",
    "UnpaidRow",
    "VectorCollection",
    "Visitor",
    "VisitorLink",
    "WatchedQuery",
    "WatchedResult",
    "Webhook",
    "WebhookMember",
    "Workbench",
    "Worker",
]
