"""Who a shopper is: visitors with signed random ids, their consent, and their link to a user of the shop."""

from recommender.identity.consent import (
    CONSENT_COOKIE,
    CONSENT_GRANTED,
    ask_again,
    delete_consent_cookie,
    has_consented,
    is_by_cookie,
    keeps_cookie,
    set_consent_cookie,
    withdraws_consent,
)
from recommender.identity.cookies import (
    cookie_for,
    delete_cookie,
    is_forgotten,
    set_cookie,
    visitor_key_from_cookie,
)
from recommender.identity.linking import connect, grant_consent
from recommender.identity.shopper import Shopper, mark_personal, may_change_cookie, personal_shopper_of, shopper_of
from recommender.identity.tokens import TokenClaims, claims_of, token_for, visitor_key_from
from recommender.identity.users import link, own_key, unlink, user_key_of, visitor_of_user

__all__ = [
    "CONSENT_COOKIE", "CONSENT_GRANTED", "Shopper", "TokenClaims", "ask_again", "claims_of", "connect", "cookie_for",
    "delete_consent_cookie", "delete_cookie", "grant_consent", "has_consented", "is_by_cookie", "is_forgotten",
    "keeps_cookie", "link", "mark_personal", "may_change_cookie", "own_key", "personal_shopper_of",
    "set_consent_cookie", "set_cookie", "shopper_of", "token_for", "unlink", "user_key_of", "visitor_key_from",
    "visitor_key_from_cookie", "visitor_of_user", "withdraws_consent",
]  # fmt: skip
