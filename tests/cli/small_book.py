"""A small book of inputs, and the program in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

MAKER, CHECKER, SENIOR = "amara.okafor", "bruno.lindqvist", "dev.raghavan"
CREDIT = "TF26LC000101"

TERMS = {
    "currency": "USD",
    "amount": 10_000_000,
    "tolerance_plus": 5,
    "tolerance_minus": 5,
    "has_tolerance": True,
    "expiry_date": "2027-02-15",
    "expiry_place": "SINGAPORE",
    "available_with": "BBBBSGSGXXX",
    "available_by": "sight",
    "latest_shipment": "2027-01-25",
    "advising_bank": "BBBBSGSGXXX",
    "issuing_bank": "ALBNGB2LXXX",
    "required_documents": [{"kind": "invoice", "originals": 3}],
}
PARTIES = {
    "subject": "cust-quillon",
    "applicant": {"name": "QUILLON MARINE SUPPLIES LTD", "town": "FELIXSTOWE", "country": "GB"},
    "beneficiary": {"name": "TARVEK WIDGET WORKS PTE", "town": "SINGAPORE", "country": "SG"},
}
MT700 = (
    "{1:F01ALBNGB2LAXXX0001000001}{2:O7000900261123ORNTSGSGAXXX00010000012611230900N}{4:\n"
    ":27:1/1\n:40A:IRREVOCABLE\n:20:OR26LC000777\n:31C:261123\n:40E:UCP LATEST VERSION\n"
    ":31D:270215FELIXSTOWE\n:50N:ORIENT IMPORTS PTE LTD\n:50S:22 QUAY STREET\n:50T:SINGAPORE\n"
    ":50R:SG\n:59N:QUILLON MARINE SUPPLIES LTD\n:59S:1 HARBOUR ROAD\n:59T:FELIXSTOWE\n:59R:GB\n"
    ":32B:USD100000,\n:39A:05/05\n:41A:ALBNGB2LXXX\nBY NEGOTIATION\n:43P:NOT ALLOWED\n"
    ":43T:ALLOWED\n:44E:FELIXSTOWE\n:44F:SINGAPORE\n:44C:270125\n:44I:CIF\n"
    "SINGAPORE INCOTERMS 2020\n:45A:+1000 WIDGETS MODEL K\n"
    ":46A:+SIGNED COMMERCIAL INVOICE IN 3 COPIES\n:45H:8479.89\n:48:21/AFTER SHIPMENT DATE\n"
    ":49:WITHOUT\n-}{5:{CHK:123456789ABC}}"
)


def facility_document(reference: str = "FAC-QUI") -> dict[str, Any]:
    """Return a document that sets a facility up."""
    return {
        "type": "SetFacility",
        "id": f"set-{reference}",
        "as": SENIOR,
        "role": "senior_checker",
        "facility": reference,
        "customer": "cust-quillon",
        "currency": "USD",
        "limit": 500_000_000,
        "expiry": "2027-12-31",
        "margin_account": "ACC-1",
    }


def application_document(credit: str = CREDIT) -> dict[str, Any]:
    """Return a document that applies for a credit."""
    return {
        "type": "ApplyForCredit",
        "id": f"apply-{credit}",
        "as": MAKER,
        "role": "maker",
        "credit": credit,
        "application": f"APP-{credit}",
        "facility": "FAC-QUI",
        "margin_percent": 10,
        "terms": dict(TERMS),
        "parties": PARTIES,
    }


def write_book(folder: Path) -> Path:
    """Write a book of five inputs: one a repeat, one no message at all."""
    folder.mkdir(parents=True, exist_ok=True)
    application = json.dumps(application_document())
    (folder / "20261123T0800Z-facility.json").write_text(json.dumps(facility_document()))
    (folder / "20261123T0900Z-apply.json").write_text(application)
    (folder / "20261123T0910Z-apply-again.json").write_text(application)
    (folder / "20261123T0930Z-noise.fin").write_bytes(b"\x00\xffno message at all")
    (folder / "20261124T0900Z-mt700.fin").write_text(MT700)
    return folder


def environment() -> dict[str, str]:
    """Return the environment of a program of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("USANCE_")}
    source = str(Path(__file__).parents[2] / "src")
    return {**kept, "PYTHONPATH": source, "PYTHONUNBUFFERED": "1"}


def program(*arguments: str, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "usance", *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def start_program(*arguments: str, cwd: Path) -> dict[str, Any]:
    """Start the program; returns its url, pid and data folder as it says them, and the child."""
    said = ("start", "--output", "json", "--port", "0", *arguments)
    child = subprocess.Popen(
        [sys.executable, "-m", "usance", *said],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, child.communicate()[1]
    return {**json.loads(line), "child": child}
