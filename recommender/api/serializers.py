"""What each endpoint of the API reads and answers; the OpenAPI file is generated from these serializers."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from recommender.api.parameters import MAX_ID_LENGTH, MAX_NAMED, no_such
from recommender.capture import privacy
from recommender.models import Event, Impression, RejectedEvent, UnpaidRow, Visitor
from recommender.types import EventType, Relaxation, Role, Rung, Slot, Sort, WhySkipped

MAX_POSITION = 32_767
"""A `PositiveSmallIntegerField` holds no more on PostgreSQL."""

ISO = ["iso-8601"]
NO_IDS = frozenset(
    {"undefined", "null", "none", "nil", "nan", "(null)", "[object object]", "00000000-0000-0000-0000-000000000000"}
)
"""What programs write where they had no id: such a message_id would be the same for every event."""

RECOMMENDATION_SLOTS = [slot.value for slot in Slot if slot != Slot.SEARCH]


class UtcDateTimeField(serializers.DateTimeField):
    """ISO 8601 in and out; a time without an offset is UTC, whatever the host's settings say."""

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso-8601", input_formats=ISO, default_timezone=dt.UTC, **options)


class PriceField(serializers.DecimalField):
    """Money as a string of decimals, so that no client computes with binary fractions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=15, decimal_places=3, coerce_to_string=True, **options)

    def to_representation(self, value: Any) -> str:
        """As many decimals as the amount has; a third one only where it is not 0, as a column of three tells it."""
        amount = Decimal(value)
        in_hundredths = amount.quantize(Decimal("0.01"))
        return format(in_hundredths if amount == in_hundredths and "." in str(amount) else amount, "f")


class ScoreField(serializers.FloatField):
    """Six decimals; a score that is not a finite number is 0, because JSON has no word for it."""

    def to_representation(self, value: Any) -> Any:
        """Return what JSON can hold."""
        return round(float(value), 6) if math.isfinite(value) else 0.0


class LikelyCategoryField(serializers.DictField):
    """Pairs of a name and a probability, best first."""

    def to_representation(self, value: Any) -> Any:
        """Return them by name."""
        return super().to_representation(dict(value))


class ReasonSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="Stable, for machines.")
    text = serializers.CharField(help_text="In words, for the shopper.")
    item_id = serializers.CharField(help_text="The item that the reason points at, or empty.")


class EntrySerializer(serializers.Serializer[Any]):
    item_id = serializers.CharField()
    position = serializers.IntegerField(help_text="Place in the list; the first is 1, counted through all pages.")
    title = serializers.CharField(source="live.title")
    url = serializers.CharField(source="live.url", help_text="As the shop links it; may be relative to its origin.")
    image = serializers.CharField(source="live.image", help_text="Address of a picture, or empty.")
    price = PriceField(source="live.price", allow_null=True, help_text="Read live from the shop; null where unknown.")
    currency = serializers.CharField(source="live.currency", help_text="ISO 4217, or empty.")
    available = serializers.BooleanField(source="live.available")
    reasons = ReasonSerializer(many=True)
    score = ScoreField(help_text="Comparable within one answer only.")
    is_near = serializers.BooleanField(help_text="True: it does not match the query, but comes near it.")
    rules = serializers.ListField(
        child=serializers.IntegerField(), help_text="Ids of the shop's rules that pinned or moved it."
    )


class SkippedPinSerializer(serializers.Serializer[Any]):
    rule = serializers.IntegerField(help_text="Id of the rule.")
    item_id = serializers.CharField()
    why = serializers.ChoiceField(
        choices=[why.value for why in WhySkipped],
        help_text="No longer in the catalogue, hidden, sold out, or left out of this list.",
    )


class IntentWordSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(help_text="One word, or the words of one name.")
    role = serializers.ChoiceField(choices=[role.value for role in Role], help_text="What it is about.")
    probability = ScoreField(help_text="That the role is right, 0 to 1.")
    value = serializers.CharField(help_text="The shop's own name of the brand or category, or empty.")


class IntentSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(
        help_text="What is searched: the query without the words of a price and of an exclusion."
    )
    words = IntentWordSerializer(many=True)
    categories = LikelyCategoryField(child=ScoreField(), help_text="Probability of each likely category, by name.")
    min_price = serializers.FloatField(allow_null=True, help_text="As the query says.")
    max_price = serializers.FloatField(allow_null=True, help_text="As the query says.")
    excluded = serializers.ListField(
        child=serializers.CharField(), help_text='What the items must not have, as in "mug without handle".'
    )


class OfferedFilterSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="The parameter to set.")
    value = serializers.CharField(help_text="What to set it to.")
    text = serializers.CharField(help_text="In words, for the shopper.")
    query = serializers.CharField(help_text="The `q` to send with it; where it is on, the `q` to send without it.")
    is_applied = serializers.BooleanField(help_text="True: the list is narrowed by it. False: it is only offered.")


class FacetValueSerializer(serializers.Serializer[Any]):
    text = serializers.CharField(help_text="In words, for the shopper.")
    n_items = serializers.IntegerField(help_text="Items that would be found with it, the other filters applied.")
    parameters = serializers.DictField(child=serializers.CharField(), help_text="The parameters that choose it.")
    is_applied = serializers.BooleanField(help_text="True: it is chosen.")


class FacetSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="As `facets` names it.")
    text = serializers.CharField(help_text="In words, for the shopper.")
    values = FacetValueSerializer(many=True, help_text="The most frequent first; ranges of prices from below.")
    n_more = serializers.IntegerField(help_text="Further values, with fewer items.")


class RankingSerializer(serializers.Serializer[Any]):
    ranking_id = serializers.UUIDField(source="id", help_text="Send it back with events that follow from this list.")
    slot = serializers.ChoiceField(choices=[slot.value for slot in Slot])
    rung = serializers.ChoiceField(
        choices=[rung.value for rung in Rung], help_text="Which step of the ladder answered, the best first."
    )
    bundle = serializers.CharField(help_text="Hash of the model that ranked; empty without one.")
    catalog_version = serializers.CharField()
    query = serializers.CharField(help_text="The query as it was understood: spaces collapsed, cut at 255 characters.")
    corrected_query = serializers.CharField(help_text="What was searched instead, after a typo; else empty.")
    n_found = serializers.IntegerField(help_text="Matches before limit and offset: items with all words.")
    n_near = serializers.IntegerField(help_text="Items that follow them: with some of the words, or near in meaning.")
    intent = IntentSerializer(allow_null=True, help_text="What the query is about; null for a recommendation.")
    offered_filters = OfferedFilterSerializer(many=True)
    relaxed = serializers.ChoiceField(
        choices=[step.value for step in Relaxation],
        allow_blank=True,
        help_text="What was given up because nothing matched; empty where nothing was.",
    )
    relaxed_query = serializers.CharField(help_text="The words that are left, where words were given up.")
    notice = serializers.CharField(help_text="The same in words, for the shopper; else empty.")
    sort = serializers.ChoiceField(choices=[sort.value for sort in Sort], help_text="The order of what matches.")
    facets = FacetSerializer(many=True, help_text="What `facets` asked for, where it offers a choice.")
    rules = serializers.ListField(
        child=serializers.IntegerField(), help_text="Ids of the shop's rules that the list obeys."
    )
    redirect = serializers.CharField(
        help_text="Where a rule of the shop leads the query: go there instead of showing the list; else empty."
    )
    banners = serializers.ListField(child=serializers.CharField(), help_text="Texts to show above the list.")
    skipped = SkippedPinSerializer(many=True, help_text="Items that a rule pins and that are not shown.")
    next_cursor = serializers.SerializerMethodField(
        help_text="The `cursor` of the next page of a search that began with *; empty at the end, and without a cursor."
    )
    items = EntrySerializer(source="entries", many=True)

    def get_next_cursor(self, ranking: Any) -> str:
        return str(self.context.get("next_cursor", ""))


class SuggestionSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()
    kind = serializers.ChoiceField(choices=["query", "item", "category"])
    item_id = serializers.CharField(help_text="Of kind item, else empty.")
    url = serializers.CharField(help_text="Of kind item, else empty.")


class SuggestionsSerializer(serializers.Serializer[Any]):
    query = serializers.CharField()
    suggestions = SuggestionSerializer(many=True)


class StrictSerializer(serializers.Serializer[Any]):
    """A body that holds known fields only: a misspelt one must not look as if it had been obeyed."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the checked values. Raises `ValidationError`, also for a field that there is not."""
        if isinstance(data, Mapping):
            unknown = sorted(name[:MAX_ID_LENGTH] for name in set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError(
                    {name: no_such("field", name, self.fields) for name in unknown[:MAX_NAMED]}
                )
        return super().to_internal_value(data)


class ConsentSerializer(StrictSerializer):
    consent = serializers.BooleanField(help_text="Did the shopper agree to be recorded?")


class IdField(serializers.CharField):
    """An id of the client's. Raises `ValidationError` for what a program writes where it had none."""

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        if value.strip().lower() in NO_IDS:
            raise serializers.ValidationError(f"{value!r} is no id: the client's variable was empty.")
        return value


class EventSerializer(serializers.Serializer[Any]):
    message_id = IdField(
        max_length=128, help_text="The visitor's own id of the event; the same id is stored once, however often sent."
    )
    type = serializers.ChoiceField(
        choices=[event_type.value for event_type in EventType],
        help_text="A purchase counts as a cart: only the shop's own order rows are purchases.",
    )
    item_id = IdField(
        default="", allow_blank=True, max_length=MAX_ID_LENGTH, help_text="As in lists; required except for a search."
    )
    query = serializers.CharField(default="", allow_blank=True, help_text="Of a search; cut at 255 characters.")
    occurred_at = UtcDateTimeField(required=False, help_text="When it happened; now, where it is left out.")
    quantity = serializers.FloatField(default=1, help_text="Above 0.")
    price = serializers.DecimalField(
        None, None, required=False, allow_null=True, min_value=0, help_text="Of one unit; as exact as its currency is."
    )
    currency = serializers.RegexField(r"^[A-Za-z]{3}$", default="", allow_blank=True, help_text="ISO 4217.")
    order_id = serializers.CharField(
        default="", allow_blank=True, max_length=128, help_text="Yours; it joins no order of the shop."
    )
    ranking_id = serializers.UUIDField(required=False, allow_null=True, help_text="The list in which it was clicked.")
    position = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=MAX_POSITION)


class EventBatchSerializer(serializers.Serializer[Any]):
    sent_at = UtcDateTimeField(
        required=False, help_text="What the client's clock shows now: the times of events are corrected by it."
    )
    events = EventSerializer(many=True)


class RejectionSerializer(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="Place in the list that was sent, from 0.")
    field = serializers.CharField(help_text="The field at fault, or empty.")
    message = serializers.CharField()


class ReceiptSerializer(serializers.Serializer[Any]):
    """Every event is accounted for: sent = accepted + duplicate + rejected + dropped."""

    accepted = serializers.IntegerField(help_text="Committed by this call.")
    duplicate = serializers.IntegerField(help_text="Stored before under the same message_id.")
    rejected = RejectionSerializer(many=True)
    warnings = RejectionSerializer(
        many=True, help_text="Of stored events that teach less than they seem to: an item or a field that is not known."
    )
    dropped = serializers.IntegerField(help_text="Not stored, because the visitor has not consented.")
    message = serializers.CharField(help_text="In words.")


class InterestSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    share = ScoreField(help_text="Of all the evidence, 0 to 1.")
    text = serializers.CharField(source="evidence.in_words", help_text='Such as "12 bought, 3 viewed".')
    last_at = UtcDateTimeField()


class ProfileSerializer(serializers.Serializer[Any]):
    visitor_id = serializers.UUIDField(allow_null=True, help_text="Null for a signed-in user without a visitor.")
    user = serializers.CharField(allow_null=True, help_text="Key of the shop's user that the visitor is linked to.")
    consent = serializers.BooleanField()
    profiling = serializers.BooleanField(help_text="False: lists are the same for everybody.")
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Stored events by type.")
    headline = serializers.CharField(help_text="What interests the visitor, in one sentence.")
    interests = InterestSerializer(many=True)


class ChoicesSerializer(StrictSerializer):
    consent = serializers.BooleanField(required=False, help_text="False stops recording; it erases nothing.")
    profiling = serializers.BooleanField(required=False, help_text="False switches personal lists off.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse no choice at all: it would be answered as if something had changed."""
        if not attrs:
            raise serializers.ValidationError(f"Nothing is chosen. Send at least one of: {', '.join(self.fields)}.")
        return attrs


class StoredCorrectionSerializer(serializers.Serializer[Any]):
    interest = serializers.CharField()
    what = serializers.ChoiceField(["pinned", "muted"])
    at = serializers.DateTimeField()


class StoredVisitorSerializer(serializers.ModelSerializer[Visitor]):
    segment = serializers.CharField(allow_null=True, help_text="Name of the group of visitors, or null.")
    first_seen_at = UtcDateTimeField()
    last_seen_at = UtcDateTimeField()
    corrections = StoredCorrectionSerializer(many=True, help_text="Interests that the shop's staff pinned or muted.")
    entered = serializers.ListField(
        child=serializers.IntegerField(), help_text="Numbers of experiments for a segment that showed a list."
    )

    class Meta:
        model = Visitor
        fields = privacy.VISITOR_FIELDS


class StoredEventSerializer(serializers.ModelSerializer[Event]):
    message_id = serializers.CharField(help_text="As the client sent it.")
    occurred_at = UtcDateTimeField()
    received_at = UtcDateTimeField()
    price = PriceField(allow_null=True)
    position = serializers.IntegerField(allow_null=True)

    class Meta:
        model = Event
        fields = privacy.EVENT_FIELDS


class StoredImpressionSerializer(serializers.ModelSerializer[Impression]):
    item_ids = serializers.ListField(child=serializers.CharField())
    first_position = serializers.IntegerField()
    n_found = serializers.IntegerField(allow_null=True, help_text="How many items matched the words of a search.")
    occurred_at = UtcDateTimeField()
    rules = serializers.ListField(
        child=serializers.IntegerField(),
        allow_null=True,
        help_text="Ids of the shop's rules that the list obeyed; negative where it was shown without, to compare.",
    )

    pool = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="Items of which one was drawn for the last position; null where nothing was drawn.",
    )

    class Meta:
        model = Impression
        fields = privacy.IMPRESSION_FIELDS


class UnpaidRowSerializer(serializers.ModelSerializer[UnpaidRow]):
    occurred_at = UtcDateTimeField()

    class Meta:
        model = UnpaidRow
        fields = privacy.UNPAID_FIELDS


class StoredRejectionSerializer(serializers.ModelSerializer[RejectedEvent]):
    received_at = UtcDateTimeField()
    payload = serializers.DictField(help_text="The event as it was sent but for its query, masked as queries are.")

    class Meta:
        model = RejectedEvent
        fields = privacy.REJECTED_FIELDS


class ToldSerializer(serializers.Serializer[Any]):
    receiver = serializers.CharField(help_text="As the shop calls whom it told of this person.")
    told_at = UtcDateTimeField()


class ExportSerializer(serializers.Serializer[Any]):
    visitors = StoredVisitorSerializer(many=True)
    events = StoredEventSerializer(many=True)
    impressions = StoredImpressionSerializer(many=True)
    unpaid_rows = UnpaidRowSerializer(many=True)
    told_to = ToldSerializer(many=True)
    rejected_events = StoredRejectionSerializer(many=True)


class FaultSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="Of the parameter or field.")
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField(help_text="Stable, for machines: `urn:shopreco:problem:<kind>`.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="What was wrong and how to repair it.")
    errors = FaultSerializer(many=True, required=False)  # type: ignore[assignment]  # Serializer.errors
