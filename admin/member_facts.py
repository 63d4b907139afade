"""What JSON says of a membership and of what is remembered beside it: the keys that scripts rely on. Keys may be added, none goes away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lists.model import Member
    from lists.records import Evidence, History, Request, Token


def member_facts(member: Member) -> dict[str, Any]:
    """Return what JSON says of a membership."""
    return {
        "address": member.address,
        "role": member.role,
        "delivery": member.delivery,
        "moderation_action": member.moderation_action,
        "joined_at": member.joined_at,
        "display_name": member.display_name,
        "language": member.language,
        "delivery_mode": member.delivery_mode,
        "delivery_status": member.delivery_status,
        "status_by": member.status_by,
        "status_why": member.status_why,
        "status_at": member.status_at,
        "status_until": member.status_until,
        "receive_own_postings": member.receive_own_postings,
        "acknowledge_posts": member.acknowledge_posts,
        "hide_address": member.hide_address,
    }


def request_facts(request: Request) -> dict[str, Any]:
    """Return what JSON says of an open request."""
    return {
        "id": request.id,
        "list_id": request.list_id,
        "address": request.address,
        "kind": request.kind,
        "state": request.state,
        "asked_by": request.asked_by,
        "created_at": request.created_at,
        "expires_at": request.expires_at,
        "item_id": request.item_id,
    }


def token_facts(number: int, token: Token) -> dict[str, Any]:
    """Return what JSON says of a token; the token itself nobody knows but who got it."""
    return {
        "id": number,
        "list_id": token.list_id,
        "address": token.address,
        "purpose": token.purpose,
        "about": token.about,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "used_at": token.used_at,
        "item_id": token.item_id,
    }


def evidence_facts(evidence: Evidence) -> dict[str, Any]:
    """Return what JSON says of a bounce."""
    return {
        "at": evidence.at,
        "day": evidence.day,
        "class": evidence.bounce_class,
        "status": evidence.status,
        "diagnostic": evidence.diagnostic,
        "item_id": evidence.item_id,
    }


def history_facts(entry: History) -> dict[str, Any]:
    """Return what JSON says of one change."""
    return {
        "id": entry.id,
        "at": entry.at,
        "list_id": entry.list_id,
        "address": entry.address,
        "what": entry.what,
        "old": entry.old,
        "new": entry.new,
        "cause": entry.origin.kind,
        "who": entry.origin.who,
        "why": entry.origin.why,
        "item_id": entry.origin.item_id,
    }
