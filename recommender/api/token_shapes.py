"""What the endpoints of tokens and links read and answer."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from recommender.api.serializers import ConsentSerializer, ExportSerializer, StrictSerializer, UtcDateTimeField
from recommender.identity import tokens
from recommender.models import AppToken, Scope, VisitorLink

MAX_REFRESH_TOKEN_LENGTH = 200


class NewVisitorSerializer(ConsentSerializer):
    name = serializers.CharField(
        required=False, max_length=64, help_text="Of the installation, for the list of tokens, such as “Pixel 8”."
    )
    scopes = serializers.MultipleChoiceField(
        choices=[scope.value for scope in Scope],
        required=False,
        allow_empty=False,
        help_text="What the token is for; everything, where it is left out.",
    )


class TokenPairSerializer(serializers.Serializer[Any]):
    token = serializers.CharField(help_text="Send it as `Authorization: Visitor <token>` until it expires.")
    expires_at = UtcDateTimeField(help_text="Of the token. Get the next one before, or after a 401 expired-token.")
    refresh_token = serializers.CharField(help_text="Keep it; it opens nothing but POST tokens/refresh, once.")
    refresh_expires_at = UtcDateTimeField(source="row.expires_at", help_text="Of the refresh token.")
    token_id = serializers.UUIDField(source="row.key", help_text="By which the token is listed and revoked.")
    scopes = serializers.ListField(source="row.scopes", child=serializers.CharField())


class VisitorSerializer(TokenPairSerializer):
    visitor_id = serializers.UUIDField(source="row.visitor.key")
    consent = serializers.BooleanField(source="row.visitor.has_consented")


class RefreshSerializer(StrictSerializer):
    refresh_token = serializers.CharField(max_length=MAX_REFRESH_TOKEN_LENGTH, help_text="The newest that you have.")


class TokenSerializer(serializers.ModelSerializer[AppToken]):
    token_id = serializers.UUIDField(source="key")
    name = serializers.CharField(help_text="As the app said, or empty.")
    scopes = serializers.ListField(child=serializers.CharField())
    is_signed_in = serializers.SerializerMethodField(help_text="Does it open the user's account?")
    is_current = serializers.SerializerMethodField(help_text="Is it the one that this call came with?")
    created_at = UtcDateTimeField()
    refreshed_at = UtcDateTimeField(help_text="When the app last got a new token.")
    expires_at = UtcDateTimeField(help_text="Unless it is refreshed before.")

    class Meta:
        model = AppToken
        fields = (
            "token_id", "name", "scopes", "is_signed_in", "is_current", "created_at", "refreshed_at", "expires_at",
        )  # fmt: skip

    def get_is_signed_in(self, token: AppToken) -> bool:
        return bool(token.user_key)

    def get_is_current(self, token: AppToken) -> bool:
        claims: tokens.TokenClaims | None = self.context.get("claims")
        return claims is not None and claims.token_key == token.key


class TokensSerializer(serializers.Serializer[Any]):
    tokens = TokenSerializer(many=True)


class LinkSerializer(serializers.Serializer[Any]):
    visitor_id = serializers.UUIDField(source="visitor.key")
    user = serializers.CharField(source="user_key", help_text="Key of the shop's user.")
    linked_at = UtcDateTimeField()


class StoredTokenSerializer(serializers.ModelSerializer[AppToken]):
    scopes = serializers.ListField(child=serializers.CharField())
    created_at = UtcDateTimeField()
    refreshed_at = UtcDateTimeField()
    expires_at = UtcDateTimeField()
    revoked_at = UtcDateTimeField(allow_null=True)

    class Meta:
        model = AppToken
        fields = ("key", "user_key", "name", "scopes", "created_at", "refreshed_at", "expires_at", "revoked_at")


class StoredLinkSerializer(serializers.ModelSerializer[VisitorLink]):
    linked_at = UtcDateTimeField()
    unlinked_at = UtcDateTimeField(allow_null=True)

    class Meta:
        model = VisitorLink
        fields = ("user_key", "authentication", "linked_at", "unlinked_at")


class WholeExportSerializer(ExportSerializer):
    tokens = StoredTokenSerializer(many=True)
    links = StoredLinkSerializer(many=True)
