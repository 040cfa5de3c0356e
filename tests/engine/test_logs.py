"""What reaches a log line, and above all what does not."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from usance.engine.logs import (
    _STRUCTLOGS_OWN,
    FIELDS,
    configure,
    key_hash,
    logger,
    record_fields,
    scrub,
)
from usance.engine.telemetry import Telemetry
from usance.kernel.clock import BookClock
from usance.log.contract import Record

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Logs of one test; the process's own handlers come back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure(stream, clock=BookClock(0))
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def record(key: bytes | None = b"albion/credit/TF26LC000123") -> Record:
    return Record("usance.trade.commands", 3, 7, key, b"v", (("traceparent", TRACEPARENT),), 0)


def test_off_a_terminal_each_line_is_one_json_object(out: io.StringIO) -> None:
    logger("owner").info("started", pid=12, version="26.11.0")
    assert lines(out) == [
        {
            "time": "1970-01-01T00:00:00.000Z",
            "level": "info",
            "event": "started",
            "part": "owner",
            "pid": 12,
            "version": "26.11.0",
        }
    ]


def test_on_a_terminal_a_line_is_readable_and_no_json() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = Terminal()
    try:
        configure(stream, clock=BookClock(0))
        logger("owner").warning("key_parked", partition=3)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "key_parked" in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(stream.getvalue())


def test_a_line_about_a_record_names_its_place_and_trace_but_not_its_key(out: io.StringIO) -> None:
    logger("owner").error("dead_lettered", code="UNKNOWN_SCHEMA", **record_fields(record()))
    (line,) = lines(out)
    assert (line["topic"], line["partition"], line["offset"]) == ("usance.trade.commands", 3, 7)
    assert line["key_hash"] == key_hash("albion/credit/TF26LC000123")
    assert line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert line["span_id"] == "00f067aa0ba902b7"
    assert "TF26LC000123" not in out.getvalue()


def test_a_field_that_is_not_registered_is_dropped(out: io.StringIO) -> None:
    logger("owner").info("started", applicant="Jane Doe", _name="Jane", amount=100_000, port=8400)
    assert "Jane" not in out.getvalue()
    assert "100000" not in out.getvalue()
    assert lines(out)[0]["port"] == 8400


def test_words_in_place_of_an_event_name_are_not_written(out: io.StringIO) -> None:
    logger("owner").info("application of Jane Doe arrived")  # type: ignore[arg-type]
    assert lines(out)[0]["event"] == "unregistered"
    assert "Jane" not in out.getvalue()


def test_an_object_in_a_registered_field_is_told_by_its_type(out: io.StringIO) -> None:
    logger("owner").info("started", code={"name": "Jane Doe"}, version=b"Jane Doe")
    assert "Jane" not in out.getvalue()
    assert (lines(out)[0]["code"], lines(out)[0]["version"]) == ("dict", "bytes")


def test_an_exception_shows_type_and_place_but_no_message(out: io.StringIO) -> None:
    try:
        raise ValueError("beneficiary is Jane Doe")
    except ValueError:
        logger("projector").exception("part_failed")
    (line,) = lines(out)
    assert line["error_type"] == "ValueError"
    assert line["where"].startswith("engine/test_logs.py:")
    assert line["level"] == "error"
    assert "Jane" not in out.getvalue()


def test_a_library_is_told_by_its_template_without_arguments(out: io.StringIO) -> None:
    logging.getLogger("some.library").warning("cannot parse %s", "Jane Doe")
    try:
        raise KeyError("Jane Doe")
    except KeyError:
        logging.getLogger("some.library").exception("Jane Doe failed")
    first, second = lines(out)
    assert (first["event"], first["template"]) == ("library", "cannot parse %s")
    assert first["part"] == "some.library"
    assert second["error_type"] == "KeyError"
    assert "Jane" not in out.getvalue()


def test_request_lines_with_their_query_strings_are_not_logged(out: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").info("GET %s", "/credits?applicant=Jane")
    assert out.getvalue() == ""


def test_an_open_span_is_named_in_the_line(out: io.StringIO) -> None:
    telemetry = Telemetry(tracer_provider=TracerProvider(shutdown_on_exit=False))
    with telemetry.process_span(record()):
        logger("owner").info("started")
    assert len(lines(out)[0]["trace_id"]) == 32
    assert len(lines(out)[0]["span_id"]) == 16


def test_what_is_below_the_level_is_not_written(out: io.StringIO) -> None:
    configure(out, level=logging.ERROR, clock=BookClock(0))
    logger("owner").warning("key_parked")
    assert out.getvalue() == ""


def test_before_anything_is_configured_stdout_stays_for_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger("owner").warning("key_parked", partition=1)
    assert capsys.readouterr().out == ""


@given(
    st.dictionaries(
        st.text().filter(lambda name: name not in _STRUCTLOGS_OWN)
        | st.sampled_from(sorted(FIELDS)),
        st.one_of(st.text(), st.integers(), st.binary()),
    )
)
def test_only_registered_fields_survive_scrubbing(fields: dict[str, Any]) -> None:
    line = scrub(None, "", dict(fields))
    assert set(line) <= FIELDS


def test_a_record_without_a_key_still_has_its_place() -> None:
    assert record_fields(record(None))["key_hash"] == key_hash(b"")
