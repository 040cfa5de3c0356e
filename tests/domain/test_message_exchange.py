"""One outgoing message: queued, sent once, answered, repaired."""

import msgspec

from usance.domain import message_exchange as m
from usance.kernel.timers import TimerCancelled, TimerDue, TimerSet
from usance.kernel.words import Words
from usance.testing.spec import spec
from usance.testing.trade import MONDAY, SYSTEM

TEXT = m.FinText(subject="party-1", text="{1:F01ALBNGB2LAXXX0000000000}{4:\n:20:LC1\n-}")
QUEUE = m.QueueMessage(message="MUR1", mt="700", receiver="MERLSGSGXXX", credit="LC1", text=TEXT)
SENT = m.RecordSent(file="out/MUR1.fin", sha256="ab")


def _queued():
    stream = spec(m.MessageExchangeDecider(), "albion/message/MUR1", instant=MONDAY)
    return stream.when(QUEUE, SYSTEM).then(m.MessageQueued)


def _sent():
    return _queued().when(SENT, SYSTEM).then(m.MessageSent, TimerSet)


def test_a_reference_is_used_for_one_message_only():
    stream = _queued().when(QUEUE, SYSTEM).nothing()
    other = m.FinText(subject="party-1", text="other")
    stream.when(msgspec.structs.replace(QUEUE, text=other)).refused("MESSAGE_REFERENCE_USED")
    assert b":20:LC1" not in msgspec.msgpack.encode(stream.state)


def test_a_message_is_sent_once_and_its_answer_awaited_for_fifteen_minutes():
    stream = _sent()
    assert stream.decided[1].due == MONDAY + 15 * 60_000
    stream.when(SENT, SYSTEM).nothing()
    stream.when(msgspec.structs.replace(SENT, sha256="cd")).refused("NOT_IN_THIS_STATE")
    stream.when(m.RecordAck(), SYSTEM).then(m.MessageAcked, TimerCancelled)
    stream.when(m.RecordAck(), SYSTEM).nothing()
    stream.when(m.RecordNak(code="C02"), SYSTEM).refused("NOT_IN_THIS_STATE")


def test_silence_of_the_network_is_noticed_once_and_an_answer_still_counts():
    stream = _sent().when(TimerDue(timer_id="ack", due=MONDAY, reason=""), SYSTEM)
    stream.then(m.AckOverdue)
    assert stream.decided[0].since == MONDAY
    stream.when(m.RecordAck(), SYSTEM).then(m.MessageAcked)
    stream.when(TimerDue(timer_id="ack", due=MONDAY, reason=""), SYSTEM).nothing()


def test_a_message_turned_away_is_repaired_with_another_text_and_sent_again():
    stream = _sent().when(m.RecordNak(code="C02", line=7), SYSTEM)
    stream.then(m.MessageNaked, TimerCancelled)
    stream.when(m.RecordNak(code="C02", line=7), SYSTEM).nothing()
    stream.when(m.RepairMessage(text=TEXT)).refused("NOTHING_REPAIRED")
    repaired = m.RepairMessage(text=m.FinText(subject="party-1", text="better"))
    stream.when(repaired).then(m.MessageRepaired)
    stream.when(repaired).nothing()
    assert stream.events[-1].attempt == 2
    stream.when(SENT, SYSTEM).then(m.MessageSent, TimerSet)
    stream.when(m.RecordAck(), SYSTEM).then(m.MessageAcked, TimerCancelled)


def test_only_what_never_left_can_be_abandoned():
    _sent().when(m.AbandonMessage(reason=Words(text="void"))).refused("NOT_IN_THIS_STATE")
    stream = _queued().when(m.AbandonMessage(reason=Words(text="void"))).then(m.MessageAbandoned)
    stream.when(m.AbandonMessage(reason=Words(text="void"))).nothing()


def test_what_the_gateway_took_while_it_was_abandoned_counts_as_sent():
    stream = _queued().when(m.AbandonMessage(reason=Words(text="void"))).then(m.MessageAbandoned)
    stream.when(SENT, SYSTEM).then(m.MessageSent, TimerSet)
    stream.when(m.RecordAck()).then(m.MessageAcked, TimerCancelled)


def test_answers_to_unknown_messages_are_refused():
    unknown = spec(m.MessageExchangeDecider(), "albion/message/MUR9")
    unknown.when(m.RecordAck()).refused("UNKNOWN_MESSAGE")
    unknown.when(QUEUE).refused("WRONG_KEY")
    _queued().when(m.RecordAck()).refused("NOT_IN_THIS_STATE")
