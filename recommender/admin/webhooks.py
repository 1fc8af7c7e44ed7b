"""Webhooks in the admin: where people of a list are sent, sending now, and what became of each delivery."""

from __future__ import annotations

import secrets
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.handouts import SEE_PEOPLE
from recommender.admin.numbers import local
from recommender.admin.readonly import StyledAdmin
from recommender.admin.runs import badge
from recommender.admin.steps import Link, Outcome, Step, require, walk
from recommender.exceptions import WebhookError
from recommender.models import Delivery, Segment, Webhook
from recommender.outreach import webhooks
from recommender.outreach.posting import target_of

SEND = "recommender.send_webhook"
N_SHOWN = 25
FEWEST_SIGNS = 16
"""Of a secret that staff choose themselves: 128 bits take as many random letters and digits."""

BADGES = {
    Delivery.State.WAITING: "queued",
    Delivery.State.DELIVERED: "promoted",
    Delivery.State.FAILED: "failed",
    Delivery.State.REPLACED: "cancelled",
}


class WebhookForm(forms.ModelForm):
    """The secret is never shown again: an empty field makes one, or leaves what there is."""

    secret = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        label=_("Secret"),
        help_text=_("Empty: a new webhook gets a random one, which is shown once; an old one keeps its own."),
    )

    class Meta:
        model = Webhook
        fields = ("name", "source", "segment", "url", "secret", "is_active")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        if "segment" in self.fields:
            offered = Segment.objects.in_use() | Segment.objects.filter(pk=self.instance.segment_id)
            self.fields["segment"].queryset = offered  # type: ignore[attr-defined]
        self.has_new_secret = False

    def clean_url(self) -> str:
        url = str(self.cleaned_data["url"]).strip()
        try:
            target_of(url)
        except WebhookError as error:
            raise forms.ValidationError(str(error)) from error
        return url

    def clean_secret(self) -> str:
        secret = str(self.cleaned_data["secret"])
        if not secret and self.instance.pk:
            return str(self.instance.secret)
        if secret and len(secret) < FEWEST_SIGNS:
            raise forms.ValidationError(
                gettext("Take at least %d signs, or leave it empty for a random one.") % FEWEST_SIGNS
            )
        self.has_new_secret = not secret
        return secret or secrets.token_urlsafe(32)

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        is_of_segment = values.get("source") == Webhook.Source.SEGMENT
        if is_of_segment and values.get("segment") is None:
            self.add_error("segment", gettext("Choose the segment whose people are sent."))
        if not is_of_segment:
            values["segment"] = None
        return values


@admin.register(Webhook)
class WebhookAdmin(StyledAdmin):
    form = WebhookForm
    list_display = ("name", "what", "is_active", "people_told", "newest")
    list_select_related = ("segment__merged_into",)
    readonly_fields = ("people_told", "log")
    actions = None
    change_form_template = "admin/recommender/webhook/change_form.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        written = ("name", "source", "segment", "url", "secret", "is_active")
        if obj is None:
            return written
        shown = written if self.has_change_permission(request, obj) else tuple(n for n in written if n != "secret")
        return (*shown, "people_told", "log")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """People leave by it: who may not see them may not send them either."""
        return super().has_add_permission(request) and request.user.has_perm(SEE_PEOPLE)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and request.user.has_perm(SEE_PEOPLE)

    def get_urls(self) -> list[URLPattern]:
        send = self.admin_site.admin_view(self.send_view)
        return [path("<int:pk>/send/", send, name="recommender_webhook_send"), *super().get_urls()]

    def save_model(self, request: Any, obj: Webhook, form: Any, change: bool) -> None:
        obj.created_by = obj.created_by or request.user
        super().save_model(request, obj, form, change)
        if form.has_new_secret:
            text = gettext("The secret, shown only now: “%s”. Enter it where the messages are received.")
            messages.warning(request, text % obj.secret)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        webhook = self.get_object(request, object_id)
        links = []
        if webhook is not None and webhook.is_active and _may_send(request):
            links = [Link(gettext("Send now"), reverse("admin:recommender_webhook_send", args=[webhook.pk]))]
        return super().change_view(request, object_id, form_url, {"links": links, **(extra_context or {})})

    def send_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask, then let the next job compare the list with what the receiver was told."""
        require(request, SEND)
        require(request, SEE_PEOPLE)
        webhook = get_object_or_404(Webhook, pk=pk)
        url = reverse("admin:recommender_webhook_change", args=[pk])
        step = Step(
            title=gettext("Send %s") % webhook,
            question=gettext("Tell the receiver what has changed since it was told last?"),
            consequences=(
                format_html(
                    gettext("Posted to {url}, signed, in messages of at most {n} people."),
                    url=format_html("<code>{}</code>", webhook.url),
                    n=webhooks.CHANGES_A_DELIVERY,
                ),
                gettext("It names people with an account who have consented: %s.") % self.what(webhook),
                gettext("Whoever left the list, and whoever was erased, is told too."),
                gettext("Have a contract with the receiver, and name it in your privacy policy."),
                gettext("Your name and the time are written down among the actions of staff."),
            ),
            button=gettext("Send now"),
            back_url=url,
        )

        def act() -> Outcome:
            webhooks.request(webhook)
            message = gettext("It is sent within a minute, where a worker runs; else by recommender_webhooks.")
            return Outcome(webhook, gettext("Sent by hand."), message, url)

        return walk(self, request, step, act)

    @admin.display(description=_("what is sent"))
    def what(self, webhook: Webhook) -> str:
        return str(webhook.segment.whole) if webhook.segment is not None else webhook.get_source_display()

    @admin.display(description=_("people told"))
    def people_told(self, webhook: Webhook) -> str:
        n_erased = webhook.members.filter(erased_at__isnull=False).count()
        count = local(webhook.members.count() - n_erased, ",")
        if not n_erased:
            return count
        owed = ngettext("%d erasure is still to be told", "%d erasures are still to be told", n_erased) % n_erased
        return f"{count} · {owed}"

    @admin.display(description=_("newest delivery"))
    def newest(self, webhook: Webhook) -> SafeString | str:
        delivery = webhook.deliveries.first()
        return "–" if delivery is None else _state(delivery)

    @admin.display(description=_("deliveries"))
    def log(self, webhook: Webhook) -> SafeString:
        rows = [(delivery, _state(delivery), repair_of(delivery)) for delivery in webhook.deliveries.all()[:N_SHOWN]]
        return mark_safe(render_to_string("admin/recommender/webhook/log.html", {"rows": rows}))  # noqa: S308 - a template


def repair_of(delivery: Delivery) -> str:
    """What to do about a delivery that failed; "" for one that did not."""
    if not delivery.fault:
        return ""
    repair = str(webhooks.FAULTS[delivery.fault])
    if delivery.state == Delivery.State.FAILED:
        return " ".join([repair, gettext("Then send now: what was not told is told again.")])
    return repair


def _state(delivery: Delivery) -> SafeString:
    return badge(BADGES[Delivery.State(delivery.state)], delivery.get_state_display())


def _may_send(request: HttpRequest) -> bool:
    return request.user.has_perm(SEND) and request.user.has_perm(SEE_PEOPLE)
