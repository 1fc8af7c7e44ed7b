"""The form of the workbench: which list, for whom, at which moment, and with what it is compared."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.people import names_of, people_named
from recommender.models import Bundle, Item, Rule, Segment, Visitor
from recommender.models.words import WORDS
from recommender.text.query import MAX_QUERY_LENGTH, normal_query
from recommender.types import Slot

SEE_PEOPLE = "recommender.view_persona"
MOST_ITEMS, USUAL_ITEMS = 50, 10
MOST_IN_CART = 20
SLOTS = (Slot.SEARCH, *(slot for slot in Slot if slot is not Slot.SEARCH))
BESIDE_AN_ITEM = (Slot.SIMILAR, Slot.BOUGHT_TOGETHER)


class RuleChoice(forms.ModelChoiceField):
    """Names a rule with its state: also a draft can be looked at."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj} ({obj.get_state_display()})"


class BundleChoice(forms.ModelChoiceField):
    """Names a bundle with its state and day."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj} · {obj.get_state_display()} · {obj.created_at:%Y-%m-%d}"


GONE_BUNDLE = _("This bundle is gone, or quarantined because it is broken. Choose one of the list.")


class WorkbenchForm(forms.Form):
    """Everything has a default but the query of a search; a list beside an item needs the item."""

    slot = forms.ChoiceField(choices=[(slot.value, WORDS[slot.value]) for slot in SLOTS], label=_("List"))
    query = forms.CharField(required=False, max_length=MAX_QUERY_LENGTH, label=_("Query"))
    item_id = forms.CharField(required=False, max_length=128, label=_("Beside item"), help_text=_("Its id."))
    cart = forms.CharField(
        required=False, max_length=2_000, label=_("In the cart"), help_text=_("Ids of items, separated by commas.")
    )
    person = forms.CharField(
        required=False, max_length=100, label=_("As shopper"),
        help_text=_("Name or key of a user, key of a visitor; empty: nobody."),
    )  # fmt: skip
    segment = forms.ModelChoiceField(
        Segment.objects.in_use(), required=False, empty_label=_("–"), label=_("In segment"),
        error_messages={"invalid_choice": _("This segment is gone. Choose one of the list.")},
    )  # fmt: skip
    at = forms.DateTimeField(
        required=False, label=_("At the moment"), help_text=_("Empty: now. What the shopper did later is left out."),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"],
        error_messages={"invalid": _("Write the moment as 2026-03-31 14:05, or leave it empty for now.")},
    )  # fmt: skip
    k = forms.IntegerField(required=False, min_value=1, max_value=MOST_ITEMS, initial=USUAL_ITEMS, label=_("Items"))
    bundle = BundleChoice(
        Bundle.objects.none(), required=False, empty_label=_("what serves now"), label=_("By bundle"),
        error_messages={"invalid_choice": GONE_BUNDLE},
    )  # fmt: skip
    against = BundleChoice(
        Bundle.objects.none(), required=False, empty_label=_("–"), label=_("Compared with bundle"),
        error_messages={"invalid_choice": GONE_BUNDLE},
    )  # fmt: skip
    rule = RuleChoice(
        Rule.objects.none(), required=False, empty_label=_("–"), label=_("or without and with rule"),
        error_messages={"invalid_choice": _("This rule is gone. Choose one of the list.")},
    )  # fmt: skip

    def __init__(self, *positional: Any, may_see_people: bool, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.may_see_people = may_see_people
        bundles = Bundle.objects.exclude(state=Bundle.State.QUARANTINED).order_by("-created_at")
        choices: dict[str, Any] = self.fields
        choices["bundle"].queryset = choices["against"].queryset = bundles
        choices["rule"].queryset = Rule.objects.exclude(state=Rule.State.WITHDRAWN).order_by("name")
        if not may_see_people:
            choices["person"].disabled = True
            choices["person"].help_text = gettext("Needs the permission %s.") % SEE_PEOPLE

    def clean_slot(self) -> Slot:
        return Slot(self.cleaned_data["slot"])

    def clean_query(self) -> str:
        return normal_query(self.cleaned_data["query"])

    def clean_k(self) -> int:
        return self.cleaned_data["k"] or USUAL_ITEMS

    def clean_item_id(self) -> str:
        item_id: str = self.cleaned_data["item_id"].strip()
        if item_id:
            _require_items([item_id])
        return item_id

    def clean_cart(self) -> tuple[str, ...]:
        item_ids = list(filter(None, (part.strip() for part in self.cleaned_data["cart"].split(","))))
        if len(item_ids) > MOST_IN_CART:
            raise ValidationError(gettext("At most %d items can be in the cart here.") % MOST_IN_CART)
        _require_items(item_ids)
        return tuple(item_ids)

    def clean_at(self) -> Any:
        at = self.cleaned_data["at"]
        if at is not None and at > timezone.now():
            raise ValidationError(gettext("This moment lies in the future. Choose one up to now, or leave it empty."))
        return at

    def clean_person(self) -> Visitor | None:
        """The shopper who is named, for who may see personas."""
        words: str = (self.data.get("person") or "").strip()
        if not words:
            return None
        if not self.may_see_people:
            raise ValidationError(
                gettext("To look at a list as a shopper you need the permission %s. Leave it empty for nobody.")
                % SEE_PEOPLE
            )
        people = people_named(words[:100])
        if not people:
            raise ValidationError(
                gettext("There is no such shopper with consent. Copy a name or key from the personas.")
            )
        if len(people) > 1:
            names = names_of([visitor.user_key for visitor in people])
            texts = [f"{names.get(visitor.user_key or '', '')} {visitor.user_key or visitor.key}" for visitor in people]
            raise ValidationError(
                gettext("Several shoppers match. Write one key: %s.") % "; ".join(map(str.strip, texts))
            )
        return people[0]

    def clean(self) -> dict[str, Any]:
        """Say what is missing for the list that was chosen."""
        values: dict[str, Any] = super().clean() or {}
        slot = values.get("slot")
        if slot is Slot.SEARCH and "query" in values and not values["query"]:
            self.add_error("query", gettext("Type a query, or choose another list."))
        if slot in BESIDE_AN_ITEM and "item_id" in values and not values["item_id"]:
            self.add_error("item_id", gettext("This list stands beside an item: write the item's id."))
        if values.get("against") and values.get("rule"):
            self.add_error("rule", gettext("Compare with a bundle or with a rule, not with both: empty one of them."))
        return values


def _require_items(item_ids: list[str]) -> None:
    """Refuse ids that no item has."""
    existing = set(Item.objects.filter(item_id__in=item_ids).values_list("item_id", flat=True))
    missing = [item_id for item_id in item_ids if item_id not in existing]
    if missing:
        text = gettext("There is no item %s any more. Copy the id from the list of items.")
        raise ValidationError(text % ", ".join(f"“{item_id[:60]}”" for item_id in missing[:5]))
