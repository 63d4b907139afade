"""One LMTP session without its socket: octets in, replies out, and now and then something that must be awaited.

`receive` (reading.py) takes what was read, answers every whole command at once and gathers messages; `take_output` returns all replies of that
turn. What cannot be answered from memory is put into `want`: Assure (is the snapshot current, before a 5xx), Publish (make it durable), Pause
(others want their turn), Delay (mail comes too fast) or Secure (TLS begins). Until the caller has called the method that answers it, commands wait in the input.
So the order of replies is the order of commands, however the octets were cut, and no coroutine runs per command: 4 KiB messages cost a fifth of
what aiosmtpd's coroutine costs. What each command does is here.
Replies after the final dot are made as one list, as long as the list of accepted recipients; every way out goes through `_finish`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from config.failpoints import fail
from config.names import ItemId, new_item_id
from lists.address import Destination
from lists.policy import RULES_OF_MEMBERSHIP, Refused, Taken
from lists.posts import Post
from lmtp import accept, replies
from lmtp.accept import Entry, Header, Origin
from lmtp.addresses import PathParser
from lmtp.client import Client
from lmtp.commands import Command, Data, Lhlo, Mail, Noop, Quit, Rcpt, Rset, StartTls, Vrfy, Xforward, parse
from lmtp.data import Gathering, Message
from lmtp.flight import RECIPIENT_OCTETS
from lmtp.reading import MAX_TURN_S, Reading
from lmtp.replies import Reply
from lmtp.service import Service
from lmtp.states import OUT_OF_ORDER, Assurance, Assure, Delay, Pause, Publish, Secure, State, Unread
from lmtp.tls import Security
from lmtp.transaction import Transaction


class Dialogue(Reading):
    """One session; made when a connection is, and used from the event loop only."""

    def __init__(self, service: Service, client: Client, parse_odd: PathParser) -> None:
        super().__init__(service, client)
        self.answered = Unread([], [])
        self._parse_odd = parse_odd
        self._state = State.BARE if service.must_secure(client) else State.NEW
        self._assurance = Assurance(-1, True)

    # What the connection calls ------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a transaction is in hand."""
        return self._state in (State.MAIL, State.RCPT)

    def take_read(self) -> Unread:
        """Return what was answered 250, when the client shows that it has read that."""
        read, self.answered = self.answered, Unread([], [])
        return read

    def assured(self, is_current: bool) -> None:
        """Go on after Assure: the snapshot is now as new as the store (False: nobody could say)."""
        self._assurance = Assurance(self._assurance.upto, is_current)
        again, self._again, self.want = self._again, None, None
        self._pump(again)

    def published(self, outcome: tuple[ItemId, ...] | Reply) -> None:
        """Go on after Publish: ids under which the items are stored, or why they are not."""
        self.want = None
        self._pump(partial(self._conclude, outcome))

    def secured(self, security: Security) -> None:
        """Go on after Secure: from now on everything comes in TLS, and nothing that came before counts."""
        self.want = None
        self.client.secure(security)
        self._reset(State.NEW)
        self._pump()

    def _answer(self, line: bytes) -> None:
        command = parse(line, self._parse_odd)
        if isinstance(command, Reply):
            self._refuse(command)
        elif farewell := self.conduct.count(is_error=False):
            self.say_goodbye(farewell)
        elif refusal := OUT_OF_ORDER.get((self._state, type(command))):
            self._say(refusal)
        else:
            _ANSWERS[type(command)](self, command)

    def _refuse(self, reply: Reply) -> None:
        """Answer a line that is no command."""
        # An address that is none is its writer's mistake, and not the MTA's that passes it on.
        is_error = reply not in (replies.BAD_SENDER, replies.BAD_RECIPIENT)
        farewell = self.conduct.count(is_error=is_error) or (reply if reply.code == 421 else None)
        if farewell is not None:
            self.say_goodbye(farewell)
        else:
            self._say(reply)

    # Commands -----------------------------------------------------------------------------------------------------------

    def _lhlo(self, command: Lhlo) -> None:
        self.client.introduce(command.name)
        self._reset(State.BARE if self._state is State.BARE else State.READY)
        self._output.append(self.service.features(self.client))

    def _starttls(self, _: StartTls) -> None:
        """Say yes, and forget what was sent behind it in the clear: somebody between may have put it there (CVE-2011-0411)."""
        if not self.service.may_secure(self.client):
            return self._say(replies.IN_TLS if self.client.security else replies.NOT_IMPLEMENTED)
        self.want = Secure(len(self._input))
        self._input.clear()
        return self._say(replies.READY_FOR_TLS)

    def _xforward(self, command: Xforward) -> None:
        if not self.client.may_forward:
            return self._say(replies.MAY_NOT_FORWARD)
        self.client.forward(command.given)
        return self._say(replies.OK)

    def _mail(self, command: Mail) -> None:
        delay_ms = self.service.front.flow.delay_ms
        if delay_ms:
            self._again = partial(self._begin, command)
            self.want = Delay(delay_ms / 1000)
        else:
            self._begin(command)

    def _begin(self, command: Mail) -> None:
        refusal = self.service.refuse_mail(command.size, self._claim)
        if refusal is not None:
            self.service.report.sender_refused(self.client.keys, refusal, command.reverse_path)
            return self._say(refusal)
        self._transaction.mail_from = command.reverse_path
        self._state = State.MAIL
        return self._say(replies.SENDER_OK)

    def _rcpt(self, command: Rcpt) -> None:
        transaction = self._transaction
        if len(transaction.entries) >= self.service.max_recipients:
            return self._refuse_recipient(command, replies.TOO_MANY_RECIPIENTS)
        verdict = self.service.lists.judge(transaction.mail_from or "", command.recipient)
        tells_members = verdict.rule in RULES_OF_MEMBERSHIP
        if tells_members and not self.service.guesses.may_ask(self.client, self.service.monotonic()):
            return self._refuse_recipient(command, replies.GUESSING, "guess-limit")
        if isinstance(verdict, Refused):
            refusal = replies.make_reply(verdict.code, verdict.enhanced, verdict.text)
            if refusal.is_permanent and (doubt := self._doubt(partial(self._rcpt, command))):
                return self._refuse_recipient(command, doubt) if isinstance(doubt, Reply) else None
            if tells_members:
                self.service.guesses.note(self.client, self.service.monotonic())
            return self._refuse_recipient(command, refusal, verdict.rule)
        if verdict.destination.queue in self.service.front.flow.full:
            return self._refuse_recipient(command, replies.QUEUE_FULL)
        if not self.service.flight.may_add(self._claim, RECIPIENT_OCTETS):
            return self._refuse_recipient(command, replies.NO_ROOM)
        transaction.rcpt_tos.append(command.recipient)
        transaction.entries.append(Entry(command.recipient, verdict.destination))
        self._state = State.RCPT
        self._hold(0)
        self.conduct.forgive()
        return self._say(replies.RECIPIENT_OK)

    def _doubt(self, again: Callable[[], None]) -> Reply | bool:
        """Make sure of the snapshot before a 5xx of policy. True: asked, `again` is called later; a Reply: nobody could say; False: sure.

        One answer is good for all that had been read when the question was put: a thousand refused recipients in one segment ask once.
        """
        if self._input.at <= self._assurance.upto:
            return False if self._assurance.is_current else replies.DOUBTFUL
        self._assurance = Assurance(self._input.received, False)
        self._again = again
        self.want = Assure()
        return True

    def _data(self, _: Data) -> None:
        if not self.service.flight.may_add(self._claim, 0):
            return self._say(replies.NO_ROOM)
        self._gathering = Gathering(self.service.max_size, normalize=self.service.normalizes)
        self._claim.give_up = self._give_up
        self.gathering_since_s = self.service.monotonic()
        return self._say(replies.GO_AHEAD)

    def _rset(self, _: Rset) -> None:
        if self._state is not State.NEW:
            self._reset(State.READY)
        self._say(replies.OK)

    def _noop(self, _: Noop) -> None:
        self._say(replies.OK)

    def _vrfy(self, _: Vrfy) -> None:
        self._say(replies.CANNOT_VRFY)

    def _quit(self, _: Quit) -> None:
        self.has_quit = True
        self._say(replies.BYE)
        self._close()

    def _reset(self, state: State) -> None:
        self.service.flight.release(self._claim)
        self._transaction = Transaction()
        self._state = state
        self.client.forget_forwarded()

    # After the final dot ------------------------------------------------------------------------------------------------

    def _judge_message(self) -> None:
        transaction = self._transaction
        message = transaction.message
        assert message is not None
        refusal = accept.refuse_message(message)
        if refusal is not None:
            self._offer(message, (refusal,) * len(transaction.entries))
        elif self._judge_destinations():
            self._answer_for_lists(message)
        else:
            self._again = self._judge_message
            self.want = Pause()

    def _judge_destinations(self) -> bool:
        """Judge each destination once; false when the turn is over, and some are left.

        A rule may take 20 ms, and a thousand recipients may be a thousand lists, or a thousand times the same one.
        """
        transaction, judged = self._transaction, self._transaction.judged
        assert transaction.post is not None
        judge = partial(self._judge_data, transaction.post, transaction.header)
        failed = partial(self.service.report.rule_failed, self.client.name)
        end_s = self.service.monotonic() + MAX_TURN_S
        for entry in transaction.entries:
            if entry.destination in judged:
                continue
            if self.service.monotonic() > end_s:
                return False
            judged[entry.destination] = accept.judge_entry(entry, judge, failed)
        return True

    def _judge_data(self, post: Post, header: Header, destination: Destination) -> Taken | Refused:
        return self.service.lists.judge_data(destination, post, is_report=header.is_report)

    def _answer_for_lists(self, message: Message) -> None:
        transaction = self._transaction
        answers = tuple(transaction.judged[entry.destination] for entry in transaction.entries)
        if any(_is_final(answer) for answer in answers):
            doubt = self._doubt(self._judge_anew)
            if doubt is True:
                return
            if isinstance(doubt, Reply):
                answers = tuple(doubt if _is_final(answer) else answer for answer in answers)
        self._offer(message, answers)

    def _judge_anew(self) -> None:
        """Judge by the snapshot as it is now."""
        self._transaction.judged.clear()
        self._judge_message()

    def _offer(self, message: Message, answers: tuple[Reply | Destination, ...]) -> None:
        """Hand what is taken to the bus."""
        transaction = self._transaction
        clock = self.service.clock
        origin = Origin(transaction.mail_from or "", clock.now(), self.client.describe())
        now_ms = clock.time_ms()
        plan = accept.make_plan(
            message, transaction.header, transaction.entries, answers, origin, lambda: new_item_id(now_ms)
        )
        transaction.plan = plan
        if plan.items:
            self.want = Publish(plan.items, message.content, plan.content_keys)
        else:
            self._finish(list(accept.final_replies(plan, ())), ())

    def _conclude(self, outcome: tuple[ItemId, ...] | Reply) -> None:
        plan = self._transaction.plan
        if plan is None:  # said goodbye meanwhile: every recipient has its reply, and the mail comes again
            return
        fail("lmtp.reply.before")
        ids = () if isinstance(outcome, Reply) else outcome
        self._finish(list(accept.final_replies(plan, outcome)), ids)

    def _finish(self, final: list[Reply], ids: tuple[ItemId, ...]) -> None:
        """Give the final replies, one for each accepted RCPT in their order, and end the transaction."""
        transaction = self._transaction
        assert len(final) == len(transaction.entries)
        told = self.client.keys
        self._reset(State.READY)
        self._output.extend(reply.wire for reply in final)
        if ids and transaction.plan is not None:
            self.answered.ids.extend(ids)
            self.answered.content_keys.extend(transaction.plan.content_keys)
        answered = transaction.answered(final, ids, self.service.monotonic())
        self.service.report.message_answered(told, answered)

    def _refuse_recipient(self, command: Rcpt, reply: Reply, rule: str = "") -> None:
        reverse_path = self._transaction.mail_from or ""
        self.service.report.recipient_refused(self.client.keys, reply, reverse_path, command.recipient, rule)
        self._say(reply)


def _is_final(answer: Reply | Destination) -> bool:
    return isinstance(answer, Reply) and answer.is_permanent


_ANSWERS: Final[dict[type[Command], Callable[[Dialogue, Any], None]]] = {
    Lhlo: Dialogue._lhlo,
    StartTls: Dialogue._starttls,
    Xforward: Dialogue._xforward,
    Mail: Dialogue._mail,
    Rcpt: Dialogue._rcpt,
    Data: Dialogue._data,
    Rset: Dialogue._rset,
    Noop: Dialogue._noop,
    Vrfy: Dialogue._vrfy,
    Quit: Dialogue._quit,
}
