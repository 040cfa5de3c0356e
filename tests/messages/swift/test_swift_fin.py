"""The envelope: reading, writing, cutting."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from swift_samples import TEXTS, fin, sample

from usance.kernel.errors import Refused, Unreadable
from usance.messages.swift.fin import (
    Basic,
    Field,
    InputHeader,
    Message,
    OutputHeader,
    Pair,
    bic_of,
    build,
    numbered,
    parse,
    split,
    terminal_of,
)

BASIC = Basic("F", "01", "ALBNGB2LAXXX", "0001", "000001")
OUTPUT = OutputHeader("700", "1200", "261123BBBBSGSGAXXX0001000001", "261123", "1201", "U")


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_building_a_parsed_sample_gives_its_bytes(name: str) -> None:
    data, _ = sample(name)
    assert build(parse(data)) == data


def test_line_ends_may_be_lf_or_crlf() -> None:
    data = fin("700", TEXTS["700"])
    assert parse(data.replace(b"\r\n", b"\n")) == parse(data)


def test_fields_keep_order_repeats_spaces_and_line_numbers() -> None:
    text = ":20: A \n:79:ONE\n TWO \n:79:THREE\n:16R:ANY\n:70E::ADTX//X\n:not a tag\n"
    assert parse(fin("799", text)).fields == (
        Field("20", " A ", 1),
        Field("79", "ONE\n TWO ", 2),
        Field("79", "THREE", 4),
        Field("16R", "ANY", 5),
        Field("70E", ":ADTX//X\n:not a tag", 6),
    )


def test_an_empty_text_has_no_fields() -> None:
    assert parse(fin("700", "")).fields == ()
    assert build(parse(fin("700", ""))) == fin("700", "")


def test_sender_receiver_and_reference_are_read_from_either_direction() -> None:
    sent = parse(fin("700", TEXTS["700"]))
    assert (sent.sender, sent.receiver, sent.mur) == ("ALBNGB2LXXX", "BBBBSGSGXXX", "MUR700")
    received = msgspec.structs.replace(sent, application=OUTPUT)
    assert (received.sender, received.receiver) == ("BBBBSGSGXXX", "ALBNGB2LXXX")
    assert received.value("52A", "52D", "20") == "TF26LC000123"
    assert received.value("52A") is None


def test_terminals_and_bics_are_made_of_each_other() -> None:
    assert terminal_of("ALBNGB2L", "A") == "ALBNGB2LAXXX"
    assert bic_of(terminal_of("ALBNGB2L123")) == "ALBNGB2L123"


def test_headers_keep_monitoring_system_block_and_trailer() -> None:
    data = (
        b"{1:F01ALBNGB2LAXXX0001000001}{2:I700BBBBSGSGXXXXU3003}{3:{113:URGT}{108:M}}"
        b"{4:\r\n:20:A\r\n-}{5:{MAC:00000000}{CHK:1}{TNG:}}{S:{SAC:}{COP:P}}"
    )
    message = parse(data)
    assert message.application == InputHeader("700", "BBBBSGSGXXXX", "U", "3", "003")
    assert message.trailer[2] == Pair("TNG", "")
    assert message.system == (Pair("SAC", ""), Pair("COP", "P"))
    assert build(message) == data


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[: data.index(b"-}")], "truncated"),
        (lambda data: data[:-1], "after block 4"),
        (lambda data: data + b"more", "follow"),
        (lambda data: data + data, "follow"),
        (lambda data: data[10:], "block 1"),
        (lambda data: data.replace(b"F01ALBN", b"F01ALB"), "block 1"),
        (lambda data: data.replace(b"I732", b"X732"), "block 2"),
        (lambda data: data.replace(b"{2:I732BBBBSGSGXXXXN}", b""), "block 2"),
        (lambda data: data.replace(b"{4:\r\n:20", b"{4:\r\nnote\r\n:20"), "field"),
        (lambda data: data.replace(b"{108:", b"{lower:"), "block 3"),
        (lambda data: data.replace(b"TAKEN", b"TA\x01EN"), "control"),
        (lambda data: data.replace(b"TAKEN", b"TA\rEN"), "control"),
        (lambda data: data.replace(b"TAKEN", b"TA\xc3\x28EN"), "UTF-8"),
        (lambda data: data[: data.index(b"-}")] + data, "truncated"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(change: object, reason: str) -> None:
    data = fin("732", TEXTS["732"])
    with pytest.raises(Unreadable, match=reason) as caught:
        parse(change(data))  # type: ignore[operator]
    assert caught.value.stage == "parse"
    assert caught.value.hint


@pytest.mark.parametrize("value", ["X\n:32B:USD9,", "X\n-}", "X\r", "X\x00", "X\n-}{5:{CHK:1}}"])
def test_a_value_cannot_smuggle_in_another_field_or_the_end(value: str) -> None:
    message = Message(
        basic=BASIC, application=OUTPUT, fields=numbered([("20", "A"), ("79", value), ("79", "B")])
    )
    with pytest.raises(Refused):
        build(message)


@pytest.mark.parametrize("mur", ["A}{119:STP", "A{B", "A\x00"])
def test_a_header_value_cannot_smuggle_in_another_tag(mur: str) -> None:
    with pytest.raises(Refused):
        build(Message(basic=BASIC, application=OUTPUT, user=(Pair("108", mur),)))


def test_split_keeps_an_ack_with_the_copy_of_what_it_answers() -> None:
    ack = b"{1:F21ALBNGB2LAXXX0001000001}{4:{177:2611231201}{451:0}}"
    sent = fin("732", TEXTS["732"])
    delivered = sent.replace(
        b"I732BBBBSGSGXXXXN", b"O7321200261123BBBBSGSGAXXX00010000012611231201N"
    )
    assert split(ack + sent) == [ack + sent]
    assert split(ack + b"\r\n" + sent + b"\r\n" + ack) == [ack + b"\r\n" + sent + b"\r\n", ack]
    assert split(ack + delivered) == [ack, delivered]
    foreign = sent.replace(b"F01ALBNGB2L", b"F01CCCCUS33")
    assert split(ack + foreign) == [ack, foreign]
    assert parse(ack + sent).acknowledgement == parse(ack)
    assert build(parse(ack + sent)) == ack + sent


def test_split_isolates_what_is_no_message_and_keeps_its_neighbours() -> None:
    good = fin("732", TEXTS["732"])
    cut = good[: good.index(b"-}")]
    assert split(b"junk\n" + good + cut + good + b"tail") == [b"junk\n", good, cut, good, b"tail"]


def test_split_understands_the_separators_of_file_formats() -> None:
    one, two = fin("732", TEXTS["732"]), fin("756", TEXTS["756"])
    for between in (b"$", b"\x03   \x01", b"\r\n\r\n", b"$\r\n"):
        pieces = split(b"\x01" + one + between + two + b"\x03")
        assert [parse(piece).type for piece in pieces] == ["732", "756"]


def test_split_of_many_broken_starts_takes_linear_time() -> None:
    data = b"{1:F01ALBNGB2LAXXX0001000001}{2:I732BBBBSGSGXXXXN}{4:\n:20:A\n" * 20_000
    assert len(split(data)) == 20_000


_TAGS = st.from_regex(r"[0-9]{2}[A-Z]?", fullmatch=True)
_LINE = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from("-}{:/$"),
    max_size=20,
)
_VALUES = st.lists(_LINE, min_size=1, max_size=4).map("\n".join)
_PAIR = st.builds(
    Pair,
    st.from_regex(r"[A-Z0-9]{1,4}", fullmatch=True),
    st.text(
        st.characters(codec="utf-8", exclude_characters="{}", exclude_categories=["Cc"]), max_size=9
    ),
)
_MESSAGES = st.builds(
    Message,
    basic=st.just(BASIC),
    application=st.sampled_from([OUTPUT, InputHeader("799", "BBBBSGSGXXXX")]),
    user=st.lists(_PAIR, max_size=3).map(tuple),
    fields=st.lists(st.tuples(_TAGS, _VALUES), max_size=5).map(numbered),
    trailer=st.lists(_PAIR, max_size=3).map(tuple),
)


@given(_MESSAGES)
def test_a_message_that_builds_is_read_back_as_it_was(message: Message) -> None:
    try:
        data = build(message)
    except Refused:
        lines = [line for field in message.fields for line in field.value.split("\n")[1:]]
        assert any(line.startswith((":", "-}")) for line in lines)
        return
    assert parse(data) == message
    assert split(data) == [data]


@given(st.lists(_MESSAGES, max_size=4), st.sampled_from([b"", b"\r\n", b"$", b"\x03\x01"]))
def test_messages_in_one_file_are_cut_into_themselves(
    messages: list[Message], between: bytes
) -> None:
    built = []
    for message in messages:
        try:
            built.append(build(message))
        except Refused:
            assume(False)
    pieces = split(between.join(built))
    assert [parse(piece) for piece in pieces] == messages


@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 200))
def test_pieces_joined_are_the_input(before: bytes, after: bytes, cut: int) -> None:
    data = before + fin("732", TEXTS["732"])[cut:] + after + fin("756", TEXTS["756"])
    pieces = split(data)
    assert b"".join(pieces) == data
    assert all(pieces)


def test_a_line_of_text_that_begins_like_the_end_of_the_text_does_not_cut_the_message() -> None:
    data = fin("799", ":20:A\n:79:TEXT\n-} MORE\n")
    message = parse(data)
    assert message.value("79") == "TEXT\n-} MORE"
    assert split(data + data) == [data, data]


def test_rubbish_behind_a_message_does_not_spoil_it() -> None:
    data = fin("799", ":20:A\n:79:TEXT\n")
    assert split(data + b"rubbish") == [data, b"rubbish"]
    bare = data[: data.index(b"-}") + 2]
    assert split(bare + b"rubbish" + data) == [bare, b"rubbish", data]
