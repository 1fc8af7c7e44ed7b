"""The forms of a rule: what it is, and for whom its preview is shown."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.models import Experiment, ProfitDial, Rule, Segment
from recommender.models.words import WORDS
from recommender.rules import life
from recommender.rules.checking import attributes, faults_of
from recommender.types import Slot


class LinesField(forms.CharField):
    """A list of texts, one a line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": 4, "cols": 40}), required=False, **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]


class VersionedForm(forms.ModelForm):
    """What was changed since its page was opened is not overwritten: `read_version` is that of the page."""

    read_version = forms.IntegerField(widget=forms.HiddenInput, required=False, label=_("Version that was read"))

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.fields["read_version"].initial = self.instance.version

    def clean(self) -> dict[str, Any]:
        """Refuse to overwrite what somebody else has changed since this page was opened; what was typed stays here."""
        values: dict[str, Any] = super().clean() or {}
        current = self._meta.model._default_manager.select_related("edited_by").filter(pk=self.instance.pk).first()
        if current is not None and current.version != values.get("read_version"):
            who = current.edited_by.get_username() if current.edited_by else gettext("Somebody")
            text = gettext(
                "%(who)s has changed it since you opened it. Nothing was overwritten, and what you typed is "
                "still here: open it in another window, and enter there what is to stay."
            )
            raise forms.ValidationError(text % {"who": who})
        return values


class RuleForm(VersionedForm):
    """A draft."""

    host = ""
    item_ids = LinesField(label=_("Items"), help_text=_("Ids, one a line; for a pin in their order."))
    values = LinesField(label=_("Values"), help_text=_("Of the attribute, one a line."))
    attribute = forms.ChoiceField(label=_("Attribute"), required=False)

    class Meta:
        model = Rule
        fields = life.CONTENT

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        chosen: Any = self.fields["attribute"]
        chosen.choices = [("", "—"), *((name, name) for name in attributes())]
        if "segment" in self.fields:
            segments: Any = self.fields["segment"]
            segments.queryset = Segment.objects.in_use() | Segment.objects.filter(pk=self.instance.segment_id)
        for name in ("starts_at", "ends_at"):
            self._name_both_parts_of(name)

    def _name_both_parts_of(self, name: str) -> None:
        """Django's pair of a date and a time has one label for both, which a screen reader does not say."""
        if name in self.fields and isinstance(self.fields[name].widget, forms.SplitDateTimeWidget):
            label = capfirst(str(self.fields[name].label))
            for widget, part in zip(self.fields[name].widget.widgets, (gettext("date"), gettext("time")), strict=True):
                widget.attrs["aria-label"] = f"{label}, {part}"

        if "experiment" in self.fields:
            experiments: Any = self.fields["experiment"]
            experiments.queryset = Experiment.objects.filter(
                Q(state__in=(Experiment.State.DRAFT, Experiment.State.LIVE)) | Q(pk=self.instance.experiment_id)
            )

    def _post_clean(self) -> None:
        """Check the rule as a whole, once its fields are right by themselves."""
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            for name, message in faults_of(self.instance, host=self.host).items():
                self.add_error(name if name in self.fields else None, message)


class PreviewForm(forms.Form):
    """Which list to show, and as whom."""

    slot = forms.ChoiceField(choices=[(slot.value, WORDS[slot.value]) for slot in Slot], label=_("List"))
    query = forms.CharField(required=False, max_length=255, label=_("Query"))
    item_id = forms.CharField(required=False, max_length=128, label=_("Beside item"))
    segment = forms.ModelChoiceField(Segment.objects.in_use(), required=False, empty_label=_("nobody"), label=_("As"))
    person = forms.CharField(
        required=False,
        max_length=100,
        label=_("or as shopper"),
        help_text=_("Name or key of a user, key of a visitor."),
    )


class ProfitDialForm(VersionedForm):
    """A draft of a dial."""

    class Meta:
        model = ProfitDial
        fields = ("slot", "weight", "note")
