"""Keys of servers and apps: make, rotate, revoke; and the apps that are signed in, to look at and to sign out."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.steps import Link, Outcome, Step, require, walk
from recommender.identity import keys, linking, tokens, tombstones
from recommender.models import ApiKey, AppToken, Scope, VisitorLink

NEW_KEY_FIELDS = ("name", "kind", "scopes")
CHANGE_KEY = "recommender.change_apikey"
CHANGE_TOKEN = "recommender.change_apptoken"  # noqa: S105 - the name of a permission
CHANGE_LINK = "recommender.change_visitorlink"


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("scopes"),
        help_text=_("Of a secret key. A publishable key may send events and read lists."),
    )

    class Meta:
        model = ApiKey
        fields = NEW_KEY_FIELDS

    def clean(self) -> dict[str, Any]:
        """Refuse a secret key that opens nothing."""
        values: dict[str, Any] = super().clean() or {}
        if values.get("kind") == ApiKey.Kind.SECRET and not values.get("scopes"):
            raise ValidationError({"scopes": _("Choose what the secret key is for.")})
        return values


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    form = ApiKeyForm
    list_display = ("prefix", "kind", "name", "scopes", "created_at", "last_used_at", "revoked_at")
    list_filter = ("kind",)
    fields = ("prefix", *list_display[1:4], "created_by", *list_display[4:6], "previous_until", "revoked_at")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return NEW_KEY_FIELDS if obj is None else self.fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def save_model(self, request: Any, obj: ApiKey, form: Any, change: bool) -> None:
        """Make the key, and show it once."""
        values = form.cleaned_data
        is_secret = values["kind"] == ApiKey.Kind.SECRET
        row, key = keys.create_key(values["name"], scopes=values["scopes"], is_secret=is_secret, user=request.user)
        obj.__dict__.update({name: value for name, value in row.__dict__.items() if name != "_state"})
        obj._state.adding = False
        show_once(request, key)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/rotate/", wrap(self.rotate_view), name="recommender_apikey_rotate"),
            path("<int:pk>/revoke/", wrap(self.revoke_view), name="recommender_apikey_revoke"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        links = []
        if row and row.revoked_at is None and request.user.has_perm(CHANGE_KEY):
            links = [
                Link(gettext("Rotate"), reverse("admin:recommender_apikey_rotate", args=[row.pk])),
                Link(gettext("Revoke"), reverse("admin:recommender_apikey_revoke", args=[row.pk]), "danger"),
            ]
        return super().change_view(request, object_id, form_url, {"links": links, **(extra_context or {})})

    def rotate_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, CHANGE_KEY)
        row = get_object_or_404(ApiKey, pk=pk)
        back_url = reverse("admin:recommender_apikey_change", args=[pk])
        step = Step(
            title=gettext("Rotate %s") % row,
            question=gettext("Make a new key in place of this one?"),
            consequences=(gettext("The present key counts for another day. The new one is shown once."),),
            button=gettext("Rotate"),
            back_url=back_url,
        )

        def rotate() -> Outcome:
            show_once(request, keys.rotate_key(row))
            return Outcome(row, gettext("Rotated."), gettext("The key was rotated."), back_url)

        return walk(self, request, step, rotate)

    def revoke_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        require(request, CHANGE_KEY)
        row = get_object_or_404(ApiKey, pk=pk)
        back_url = reverse("admin:recommender_apikey_change", args=[pk])
        step = Step(
            title=gettext("Revoke %s") % row,
            question=gettext("End this key at once?"),
            consequences=(gettext("Whoever uses it is refused from now on. This cannot be undone."),),
            button=gettext("Revoke"),
            back_url=back_url,
        )

        def revoke() -> Outcome:
            keys.revoke_key(row)
            return Outcome(row, gettext("Revoked."), gettext("The key is revoked."), back_url)

        return walk(self, request, step, revoke)


class PersonalAdmin(ReadOnlyAdmin):
    """Rows that name a person; the history of the admin, which outlives them, names a keyed hash."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        subject = tombstones.subjects_of(visitor_key=obj.visitor.key, user_key=obj.user_key)[0]
        return LogEntry.objects.create(
            user_id=str(request.user.pk),
            content_type=ContentType.objects.get_for_model(obj),
            object_id=str(obj.pk),
            object_repr=gettext("person %s") % subject,
            action_flag=CHANGE,
            change_message=message,
        )


@admin.register(AppToken)
class AppTokenAdmin(PersonalAdmin):
    list_display = ("__str__", "visitor", "user_key", "scopes", "refreshed_at", "expires_at", "revoked_at")
    list_select_related = ("visitor",)
    search_fields = ("user_key__exact", "key__exact", "visitor__key__exact")
    ordering = ("-pk",)
    exclude = ("session_hash", "account_hash")
    actions = ("revoke",)

    @admin.action(description=_("Revoke the selected tokens"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        for token in queryset.filter(revoked_at__isnull=True).select_related("visitor"):
            self.log_change(request, token, gettext("Revoked."))
        messages.success(request, gettext("%d tokens are revoked.") % tokens.revoke(queryset))

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(CHANGE_TOKEN)


@admin.register(VisitorLink)
class VisitorLinkAdmin(PersonalAdmin):
    list_display = ("linked_at", "visitor", "user_key", "authentication", "unlinked_at")
    list_select_related = ("visitor",)
    search_fields = ("user_key__exact", "visitor__key__exact")
    ordering = ("-linked_at",)
    actions = ("undo",)

    @admin.action(description=_("Undo the selected links"), permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: Any) -> None:
        n_undone = 0
        for link in queryset.select_related("visitor"):
            if linking.unlink_app(link.visitor):
                self.log_change(request, link, gettext("Undone."))
                n_undone += 1
        messages.success(request, gettext("%d links are undone.") % n_undone)

    def has_undo_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(CHANGE_LINK)


def show_once(request: HttpRequest, key: str) -> None:
    """Show a key to the person who has just made it."""
    messages.warning(request, gettext("Copy the key now, it is not shown again: %s") % key)
