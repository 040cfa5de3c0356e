"""The `usance` command: a tree of nouns and verbs whose parts are imported only when they are used.

Data goes to stdout, talk to stderr. Exit codes: 0 ok, 1 refused or invalid, 2 unreadable input, 3 conflict,
4 unavailable, 5 tampered, 64 usage.
"""

from __future__ import annotations

from typing import NoReturn

from usance.cli.options import Members, Root

COMMANDS: Members = {
    "approval": (
        "usance.cli.desk:approval",
        "List, show, approve and reject what needs a second person.",
    ),
    "audit": ("usance.cli.audit:audit", "Signed heads, proofs, verification by anybody."),
    "backup": ("usance.cli.folder:backup", "Copy the data folder while it is in use."),
    "bench": ("usance.cli.measure:bench", "Measure throughput and latency on this machine."),
    "case": ("usance.cli.desk:case", "Compliance cases (that role alone)."),
    "chaos": ("usance.cli.measure:chaos", "Kill the program at random moments and check the book."),
    "command": ("usance.cli.inputs:command", "Send a command from a file."),
    "config": ("usance.cli.folder:config", "Show the settings and where each was set."),
    "credit": (
        "usance.cli.trade:credit",
        "Documentary credits: look, apply, issue, amend, advise.",
    ),
    "dead-letter": (
        "usance.cli.letters:dead_letter",
        "What could not be decided: show, redrive, discard.",
    ),
    "demo": ("usance.cli.running:demo", "Play the sample book and print a summary."),
    "doctor": ("usance.cli.folder:doctor", "Check everything, and name what mends each finding."),
    "event": ("usance.cli.operations:event", "List, show and follow events."),
    "facility": ("usance.cli.trade:facility", "Credit facilities: look and set."),
    "glass": (
        "usance.cli.glass:glass",
        "Act beyond your role in an emergency; somebody else reviews it.",
    ),
    "incident": ("usance.cli.operations:incident", "Sagas that need a person."),
    "intake": ("usance.cli.inputs:intake", "Hand in files as the FIN gateway would."),
    "kafka": ("usance.cli.kafka:kafka", "The Kafka cluster: set it up, look at its health."),
    "key": ("usance.cli.data_keys:key", "The keys that wrap data keys: ceremony, creation, check."),
    "lag": ("usance.cli.moving:lag", "How far each group is behind, in records and seconds."),
    "list": ("usance.cli.screening:lists", "Sanctions lists: show, import, approve."),
    "log": ("usance.cli.operations:log", "Verify the log's hash chain."),
    "message": ("usance.cli.trade:message", "FIN messages: look, repair, abandon."),
    "park": ("usance.cli.letters:park", "Keys that wait: show them, release them."),
    "presentation": (
        "usance.cli.trade:presentation",
        "Presentations: look, examine, refuse, take up.",
    ),
    "projection": ("usance.cli.flow:projection", "Read models: list and rebuild."),
    "restore": ("usance.cli.folder:restore", "Make a data folder from a backup."),
    "retention": (
        "usance.cli.retention:retention",
        "What is kept until when; proposals, approvals, certificates.",
    ),
    "reveal": ("usance.cli.secrecy:reveal", "Show a private field of an event, on record."),
    "saga": ("usance.cli.operations:saga", "Sagas: look, retry, skip, compensate."),
    "schema": ("usance.cli.schemas:schema", "Schemas: list, show, check new versions."),
    "screen": ("usance.cli.screening:screen", "Screen names against the sanctions lists."),
    "start": ("usance.cli.running:start", "Start everything in one process."),
    "status": ("usance.cli.operations:status", "Counts of a data folder, as `demo --output json`."),
    "subject": (
        "usance.cli.secrecy:subject",
        "Data subjects: what is kept of them, holds, erasure.",
    ),
    "swift": ("usance.cli.swift:swift", "Parse and validate FIN messages."),
    "topic": (
        "usance.cli.moving:topic",
        "The log's topics: list, describe, read; seek a group, replay.",
    ),
    "version": ("usance.cli.folder:version", "Print the version."),
    "work": ("usance.cli.desk:work", "What waits for a person."),
}

usance = Root(
    "usance",
    lazy=COMMANDS,
    help="Run a bank's documentary-trade book as auditable event streams.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    usance.main(arguments, prog_name="usance")


if __name__ == "__main__":
    main()
