"""`usance swift`: FIN messages on stdin, one JSON object on stdout."""

from __future__ import annotations

import json
import sys
from typing import BinaryIO

import click

from usance.cli.options import Noun, verb
from usance.messages.swift.layouts import CURRENT, RELEASES

swift = Noun("swift", help="Parse and validate FIN messages.")


@verb(swift)
@click.argument("file", type=click.File("rb"), default="-")
def parse(file: BinaryIO) -> None:
    """Print the blocks and fields of one message.

    Example: usance swift parse message.fin
    """
    from usance.messages.swift.report import parse_report

    report, code = parse_report(file.read())
    click.echo(json.dumps(report, ensure_ascii=False))
    sys.exit(code)


@verb(swift)
@click.option("--release", type=click.Choice(list(RELEASES)), default=CURRENT, show_default=True)
@click.argument("file", type=click.File("rb"), default="-")
def validate(release: str, file: BinaryIO) -> None:
    """Check one message against a standards release.

    Example: usance swift validate message.fin
    """
    from usance.messages.swift.report import validate_report

    report, code = validate_report(file.read(), release)
    click.echo(json.dumps(report, ensure_ascii=False))
    sys.exit(code)
