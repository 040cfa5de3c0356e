"""Structured logs: JSON lines off a terminal, readable lines on one.

A log line says what happened and where, never what it was about: event names and field names are
registries, and what is not registered is dropped before anything is written. Keys appear as a short
hash. An exception is told by its type and its places in the code, as its message may hold values.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, get_args

import msgspec
import structlog
from opentelemetry import trace

from usance.engine.telemetry import TRACEPARENT, parse_traceparent
from usance.kernel.clock import Clock, SystemClock, iso
from usance.log.contract import Record, header

Event = Literal[
    "started",
    "stopping",
    "stopped",
    "part_waits",
    "part_failed",
    "part_stopped",
    "part_stuck",
    "worker_started",
    "worker_ended",
    "partition_taken",
    "partition_lost",
    "partition_paused",
    "unit_aborted",
    "dead_lettered",
    "key_parked",
    "key_drained",
    "quarantined",
    "timer_late",
    "incident_opened",
    "projection_rebuilt",
    "projection_stale",
    "file_taken",
    "file_unreadable",
    "list_loaded",
    "lists_rescreened",
    "backup_written",
    "tiles_made_again",
    "request_failed",
    "tampered",
    "library",
]
"""What may happen. `library` is a line of a library, told by its message template."""

Field = Literal[
    "event",
    "level",
    "time",
    "part",
    "thread",
    "trace_id",
    "span_id",
    "context",
    "topic",
    "partition",
    "offset",
    "key_hash",
    "command_type",
    "event_type",
    "code",
    "stage",
    "error_type",
    "where",
    "count",
    "duration_ms",
    "attempt",
    "projection",
    "list_version",
    "port",
    "pid",
    "version",
    "template",
    "method",
    "route",
    "http_code",
]
"""What may be told about it: identifiers of ours, places and counts; never a field of a message."""

EVENTS = frozenset(get_args(Event))
FIELDS = frozenset(get_args(Field))
UNREGISTERED = "unregistered"
"""Stands for an event name that is not in the registry: its text might be somebody's data."""
WHERE_MAX = 8
"""Innermost places of an exception that are told."""

Line = MutableMapping[str, Any]
_STRUCTLOGS_OWN = ("_record", "_from_structlog")  # taken out again before a line is written


class Logger:
    """Logs for one part; each method takes a registered event and registered fields."""

    def __init__(self, part: str) -> None:
        self._inner = structlog.wrap_logger(
            logging.getLogger(f"usance.{part}"),
            processors=[
                structlog.stdlib.filter_by_level,
                *_SHARED,
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            part=part,
        )

    def info(self, event: Event, **fields: Any) -> None:
        """Log what is expected."""
        self._inner.info(event, **fields)

    def warning(self, event: Event, **fields: Any) -> None:
        """Log what heals by itself or may wait."""
        self._inner.warning(event, **fields)

    def error(self, event: Event, **fields: Any) -> None:
        """Log what needs a person."""
        self._inner.error(event, **fields)

    def exception(self, event: Event, **fields: Any) -> None:
        """Log an error with the type and the places of the exception that is being handled."""
        self._inner.error(event, exc_info=True, **fields)


def logger(part: str) -> Logger:
    """Return the logger of a part, such as `owner`."""
    return Logger(part)


def configure(
    stream: TextIO | None = None, *, level: int = logging.INFO, clock: Clock | None = None
) -> None:
    """Send all logs of the process, those of libraries included, to `stream` (default stderr).

    JSON lines when it is no terminal; calling it again replaces what was set.
    """
    out = stream or sys.stderr
    clock = clock or SystemClock()

    def stamp(_: Any, __: str, line: Line) -> Line:
        line["time"] = iso(clock.now())
        return line

    render: Any = structlog.dev.ConsoleRenderer(timestamp_key="time") if out.isatty() else _json
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_foreign, *_SHARED],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, stamp, render],
            use_get_message=False,
            pass_foreign_args=True,
            keep_exc_info=False,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers[:] = []
        library.propagate = name != "uvicorn.access"  # request lines hold query strings


def key_hash(key: bytes | str | None) -> str:
    """Return the first 12 hex digits of a key's SHA-256: enough to follow one key through the logs."""
    raw = key.encode() if isinstance(key, str) else key or b""
    return hashlib.sha256(raw).hexdigest()[:12]


def record_fields(record: Record) -> dict[str, Any]:
    """Return the fields that tell which record a line is about, its trace included."""
    found: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key_hash": key_hash(record.key),
    }
    origin = parse_traceparent(header(record.headers, TRACEPARENT))
    if origin is not None:
        found["trace_id"] = f"{origin.trace_id:032x}"
        found["span_id"] = f"{origin.span_id:016x}"
    return found


def scrub(_: Any, __: str, line: Line) -> Line:
    """Drop every field that is not registered.

    A value that is neither text, number nor None is told by its type alone.
    """
    for name in list(line):
        if name in _STRUCTLOGS_OWN:
            continue
        if name not in FIELDS:
            del line[name]
        elif not isinstance(line[name], str | int | float | None):
            line[name] = type(line[name]).__name__
    if line.get("event") not in EVENTS:
        line["event"] = UNREGISTERED
    return line


def _json(_: Any, __: str, line: Line) -> str:
    first = {name: line[name] for name in ("time", "level", "event") if name in line}
    return msgspec.json.encode({**first, **line}).decode()


def _spans(_: Any, __: str, line: Line) -> Line:
    """Add the open span, unless the line names the trace of its record."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid and "trace_id" not in line:
        line["trace_id"] = f"{context.trace_id:032x}"
        line["span_id"] = f"{context.span_id:016x}"
    return line


def _places(_: Any, __: str, line: Line) -> Line:
    """Tell an exception by type and places; its message stays here."""
    given = line.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        line.setdefault("error_type", type(error).__name__)
        frames = traceback.extract_tb(error.__traceback__)[-WHERE_MAX:]
        line["where"] = " < ".join(
            f"{_module(f.filename)}:{f.lineno} {f.name}" for f in reversed(frames)
        )
    return line


def _module(filename: str) -> str:
    """Return a file's last two path parts: enough for a reader, nothing about the machine."""
    return "/".join(filename.replace("\\", "/").split("/")[-2:])


def _foreign(_: Any, __: str, line: Line) -> Line:
    """Turn a library's line into ours: its template without the arguments, which may hold values."""
    record: logging.LogRecord = line["_record"]
    line["template"] = str(record.msg) if line.pop("positional_args", None) else ""
    line["part"] = record.name
    line["event"] = "library"
    if record.exc_info:
        line["exc_info"] = record.exc_info
    return line


_SHARED: list[Any] = [structlog.stdlib.add_log_level, _spans, _places, scrub]
