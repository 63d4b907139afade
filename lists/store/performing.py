"""Performs the changes of a decision, each with its line of history, in the transaction that it is given."""

from typing import assert_never

from lists.changes import (
    AddBounce,
    Change,
    CloseRequest,
    DisableMember,
    FreezeScoring,
    HoldPost,
    JoinMember,
    LeaveMember,
    LiftFreeze,
    MakeToken,
    OpenRequest,
    ReleaseHeld,
    ResetScore,
    SetDelivery,
    SetPreference,
    SetScore,
    SpendBudget,
    UseToken,
)
from lists.records import BounceRecord
from lists.store import bounces, budgets, held, membership, waiting
from lists.store.history import Pen


def perform(pen: Pen, change: Change) -> None:
    """Do one change; raises NoSuchList or NoSuchMember where it names what is not there."""
    match change:
        case HoldPost():
            held.hold_post(pen.connection, pen.origin.item_id, change, pen.now_ms)
        case ReleaseHeld():
            held.release_held(pen.connection, change.id)
        case JoinMember():
            membership.join(pen, change)
        case LeaveMember():
            membership.leave(pen, change)
        case SetDelivery():
            membership.set_delivery(pen, change)
        case SetPreference():
            membership.set_preference(pen, change)
        case MakeToken() | UseToken() | OpenRequest() | CloseRequest():
            _perform_waiting(pen, change)
        case AddBounce() | SetScore() | DisableMember() | ResetScore() | FreezeScoring() | LiftFreeze():
            _perform_bounces(pen, change)
        case SpendBudget():
            budgets.spend(pen.connection, change)
        case _:
            assert_never(change)


def _perform_waiting(pen: Pen, change: MakeToken | UseToken | OpenRequest | CloseRequest) -> None:
    match change:
        case MakeToken():
            waiting.make_token(pen, change)
        case UseToken():
            waiting.use_token(pen, change)
        case OpenRequest():
            waiting.open_request(pen, change)
        case CloseRequest():
            waiting.close_request(pen, change)
        case _:
            assert_never(change)


def _perform_bounces(
    pen: Pen, change: AddBounce | SetScore | DisableMember | ResetScore | FreezeScoring | LiftFreeze
) -> None:
    match change:
        case AddBounce():
            bounces.add_evidence(pen, change)
        case SetScore() | DisableMember() | ResetScore():
            if isinstance(change, DisableMember):
                membership.set_delivery(pen, SetDelivery(change.list_id, change.address, "by_bounces"))
            record = BounceRecord() if isinstance(change, ResetScore) else change.record
            _, member = membership.find(pen, change.list_id, change.address, "member")
            bounces.write_record(pen, change.list_id, member, record)
        case FreezeScoring():
            bounces.freeze_scoring(pen, change)
        case LiftFreeze():
            bounces.lift_freeze(pen, change)
        case _:
            assert_never(change)
