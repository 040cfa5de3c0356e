"""Readers of the publishers' files: UN consolidated XML, OFAC's CSV files, and our plain CSV form.

Every reader either returns a whole list or raises Unreadable; none skips what it does not understand
in a name.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NoReturn
from xml.parsers import expat

from usance.aml.lists import (
    STRONG,
    WEAK,
    Alias,
    Entry,
    ListSnapshot,
    country_code,
    sha256_of,
    unpacked,
)
from usance.aml.names import DATA
from usance.kernel.errors import Unreadable

_MONTHS = {
    "janfebmaraprmayjunjulaugsepoctnovdec"[3 * n : 3 * n + 3]: f"{n + 1:02d}" for n in range(12)
}
_FETCH_AGAIN = "fetch the file again from the publisher and import it whole"
_MAX_DEPTH = 12


class Node:
    """An XML element: its tag, text and children; just enough for lists."""

    __slots__ = ("attributes", "children", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.text = ""
        self.children: list[Node] = []

    def all(self, tag: str) -> Iterator[Node]:
        """Give the children with this tag."""
        return (c for c in self.children if c.tag == tag)

    def value(self, tag: str) -> str:
        """Return the text of the first child with this tag, without spaces around it."""
        return next((" ".join(c.text.split()) for c in self.all(tag)), "")


def read_xml(data: bytes) -> Node:
    """Return the root of an XML document; document types and entities are refused (XXE, bombs)."""
    root = Node("", {})
    stack = [root]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) > _MAX_DEPTH:
            raise Unreadable("list", "XML nested too deeply", hint=_FETCH_AGAIN)
        node = Node(tag, attributes)
        stack[-1].children.append(node)
        stack.append(node)

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*_: object) -> NoReturn:
        raise Unreadable("list", "XML with a document type or entities", hint=_FETCH_AGAIN)

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _tag: stack.pop()
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as error:
        raise Unreadable("list", "XML that is not well formed", hint=_FETCH_AGAIN) from error
    return root.children[0]


def read_un_xml(data: bytes, *, loaded_at: int = 0, sample: bool = False) -> ListSnapshot:
    """Read the UN Security Council consolidated list (plain or gzip bytes)."""
    root = read_xml(unpacked(data))
    version = root.attributes.get("dateGenerated", "")[:10]
    if root.tag != "CONSOLIDATED_LIST" or not re.fullmatch(r"\d{4}-\d\d-\d\d", version):
        raise Unreadable("list", "not a UN consolidated list", hint=_FETCH_AGAIN)
    people = [n for g in root.all("INDIVIDUALS") for n in g.all("INDIVIDUAL")]
    groups = [n for g in root.all("ENTITIES") for n in g.all("ENTITY")]
    return ListSnapshot(
        list_id="un",
        source="United Nations Security Council consolidated list",
        version=version,
        sha256=sha256_of(data),
        entries=tuple(
            [_un_entry(n, "person", "INDIVIDUAL") for n in people]
            + [_un_entry(n, "organisation", "ENTITY") for n in groups]
        ),
        loaded_at=loaded_at,
        sample=sample,
    )


def _un_entry(node: Node, kind: str, prefix: str) -> Entry:
    """Return one UN record; a `Low` quality alias is weak."""
    parts = ("FIRST_NAME", "SECOND_NAME", "THIRD_NAME", "FOURTH_NAME")
    primary = " ".join(filter(None, map(node.value, parts)))
    names = [Alias(primary, STRONG, "primary")]
    scripts = _original_scripts(node.value("NAME_ORIGINAL_SCRIPT"))
    names += [Alias(text, STRONG, "script") for text in scripts]
    for alias in node.all(f"{prefix}_ALIAS"):
        quality = WEAK if alias.value("QUALITY").lower() == "low" else STRONG
        former = "fka" if alias.value("QUALITY").startswith("f.") else "aka"
        spellings = map(str.strip, alias.value("ALIAS_NAME").split(";"))
        names += [Alias(text, quality, former) for text in spellings if text]
    births = []
    for birth in node.all("INDIVIDUAL_DATE_OF_BIRTH"):
        if birth.value("FROM_YEAR") and birth.value("TO_YEAR"):
            births.append(f"{birth.value('FROM_YEAR')}/{birth.value('TO_YEAR')}")
        births += filter(None, (birth.value("DATE")[:10] or birth.value("YEAR")[:4],))
    countries = [v.text for n in node.all("NATIONALITY") for v in n.all("VALUE")]
    countries += [a.value("COUNTRY") for a in node.all(f"{prefix}_ADDRESS")]
    ids = []
    for document in node.all(f"{prefix}_DOCUMENT"):
        kind_of = "PASSPORT" if "passport" in document.value("TYPE_OF_DOCUMENT").lower() else "ID"
        ids += [f"{kind_of}:{n}" for n in [_compact(document.value("NUMBER"))] if n]
    remarks = node.value("COMMENTS1")
    return _entry(
        node.value("REFERENCE_NUMBER") or node.value("DATAID"),
        "vessel" if "IMO number" in remarks and kind != "person" else kind,
        names,
        [node.value("UN_LIST_TYPE")],
        births,
        countries,
        ids + _ids_in(remarks),
    )


def _original_scripts(text: str) -> list[str]:
    """Split the original-script field, which may hold several spellings with notes in brackets."""
    bare = re.sub(r"\([^)]{0,200}\)", " ", text)
    return [p.strip() for p in re.split(r"[;/،,]", bare) if len(p.strip()) > 1]


def read_ofac(
    primary: bytes,
    aliases: bytes,
    addresses: bytes,
    comments: bytes,
    *,
    list_id: str,
    version: str,
    loaded_at: int = 0,
    sample: bool = False,
) -> ListSnapshot:
    """Read OFAC's CSV files of one list (SDN: sdn, alt, add, comments; non-SDN: cons_*).

    `version` is the publication date: the files do not carry it. Weak aliases stand in quotes in the
    remarks; remarks longer than the field go on in the comments file.
    """
    raw = (primary, aliases, addresses, comments)
    tables = [_ofac_rows(data, width) for data, width in zip(raw, (12, 5, 6, 2), strict=True)]
    further: dict[str, list[Alias]] = defaultdict(list)
    for row in tables[1]:
        further[row[0]].append(Alias(row[3], STRONG, row[2]))
    places: dict[str, list[str]] = defaultdict(list)
    for row in tables[2]:
        places[row[0]].append(row[4])
    rest: dict[str, str] = defaultdict(str)
    for row in tables[3]:
        rest[row[0]] += row[1]
    entries = [
        _ofac_entry(row, further[row[0]], places[row[0]], row[11] + rest[row[0]])
        for row in tables[0]
    ]
    if list_id == "ofac-sdn":
        source = "OFAC Specially Designated Nationals and Blocked Persons list"
    else:
        source = "OFAC consolidated non-SDN list"
    return ListSnapshot(
        list_id=list_id,
        source=source,
        version=version,
        sha256=sha256_of(*raw),
        entries=tuple(entries),
        loaded_at=loaded_at,
        sample=sample,
    )


def _ofac_rows(data: bytes, width: int) -> list[list[str]]:
    """Return the rows of an OFAC file, "-0-" as empty; a row of another width is refused."""
    content = unpacked(data).rstrip(b"\x1a\r\n ")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    rows = []
    for row in _csv(text):
        if len(row) != width:
            reason = f"an OFAC row has {len(row)} fields, expected {width}"
            raise Unreadable("list", reason, hint=_FETCH_AGAIN)
        rows.append(["" if c.strip() == "-0-" else " ".join(c.split()) for c in row])
    return rows


def _csv(text: str) -> Iterator[list[str]]:
    """Give the rows of CSV text that are not empty; raises Unreadable on a malformed file."""
    try:
        yield from (row for row in csv.reader(io.StringIO(text), strict=False) if row)
    except csv.Error as error:
        raise Unreadable("list", "CSV that cannot be read", hint=_FETCH_AGAIN) from error


_WEAK = re.compile(r"\b[afn]\.k\.a\. '([^';]{1,200})'")
_BIRTH = re.compile(
    r"\bDOB (?:circa )?([0-9A-Za-z ]{4,11}?)(?: to ([0-9A-Za-z ]{4,11}))?(?=[;.]|$)"
)
_NATION = re.compile(r"\b(?:nationality|citizen) ([A-Z][A-Za-z,' -]{2,40})")
_KINDS = {"individual": "person", "vessel": "vessel", "aircraft": "aircraft", "": "organisation"}


def _ofac_entry(row: list[str], aliases: list[Alias], places: list[str], remarks: str) -> Entry:
    """Return one OFAC record."""
    names = [Alias(row[1], STRONG, "primary"), *aliases]
    names += [Alias(weak, WEAK, "aka") for weak in _WEAK.findall(remarks)]
    births = []
    for first, last in _BIRTH.findall(remarks):
        begin, end = _birth(first), _birth(last)
        if begin:
            births.append(f"{begin[:4]}/{end[:4]}" if end else begin)
    countries = _NATION.findall(remarks) + places + [row[9]]
    return _entry(
        row[0],
        _KINDS.get(row[2], "organisation"),
        names,
        [p.strip(" []") for p in row[3].split("] [")],
        births,
        countries,
        _ids_in(remarks),
    )


def _birth(text: str) -> str:
    """Return "05 Jan 1975", "Jan 1975" or "1975" as an ISO date, year and month, or year."""
    parts = text.split()
    if not parts or not re.fullmatch(r"\d{4}", parts[-1]):
        return ""
    month = _MONTHS.get(parts[-2][:3].lower(), "") if len(parts) > 1 else ""
    if not month:
        return parts[-1]
    day = f"-{parts[0]:0>2}" if len(parts) == 3 and parts[0].isdigit() else ""
    return f"{parts[-1]}-{month}{day}"


_IDS = (
    ("IMO", re.compile(r"\bIMO(?: number)?:? ?(\d{7})\b")),
    ("MMSI", re.compile(r"\bMMSI (\d{9})\b")),
    ("BIC", re.compile(r"\bSWIFT/BIC ([A-Z0-9]{8}(?:[A-Z0-9]{3})?)\b")),
    ("LEI", re.compile(r"\bLegal Entity Number ([A-Z0-9]{20})\b")),
    ("CRYPTO", re.compile(r"\bDigital Currency Address - [A-Z]{2,6} ([A-Za-z0-9]{20,120})\b")),
    ("PASSPORT", re.compile(r"\bPassport (?:# ?)?([A-Z0-9-]{5,20})\b")),
    ("TAX", re.compile(r"\bTax ID No\. ([A-Z0-9-]{5,24})\b")),
    ("REG", re.compile(r"\b(?:Registration|Company) (?:Number|ID) ([A-Z0-9/-]{5,24})\b")),
)


def _ids_in(remarks: str) -> list[str]:
    """Return the identifiers stated in a record's remarks as "KIND:value"."""
    return [f"{kind}:{_compact(v)}" for kind, pattern in _IDS for v in pattern.findall(remarks)]


def _compact(text: str) -> str:
    """Return an identifier without spaces and dashes; cryptocurrency addresses keep their case."""
    return re.sub(r"[\s-]", "", text)


def _entry(
    uid: str,
    kind: str,
    names: list[Alias],
    programs: list[str],
    births: list[str],
    countries: list[str],
    ids: list[str],
) -> Entry:
    """Return a sealed entry with repeats dropped and countries as codes."""
    first: dict[str, Alias] = {}
    for alias in names:
        kept = first.get(alias.name)
        # The publisher's order decides, but a strong spelling is not lost to a weak one.
        if kept is None or (kept.quality == WEAK and alias.quality == STRONG):
            first[alias.name] = alias
    codes = filter(None, map(country_code, countries))
    return Entry(
        uid,
        kind,
        tuple(first.values()),
        tuple(dict.fromkeys(filter(None, programs))),
        tuple(dict.fromkeys(births)),
        tuple(dict.fromkeys(codes)),
        tuple(dict.fromkeys(ids)),
    ).sealed()


_CSV_COLUMNS = ("uid", "name", "type", "quality", "birth_date", "country", "ids", "programs")


def read_csv(
    data: bytes,
    *,
    list_id: str,
    version: str,
    source: str = "",
    loaded_at: int = 0,
    sample: bool = False,
) -> ListSnapshot:
    """Read our plain form: UTF-8 CSV with the heading `uid,name,type,quality,birth_date,country,ids,programs`.

    Rows of one uid are one entry, the first its primary name; only uid and name are needed. `ids`
    and `programs` are separated by `|`, ids written as `IMO:9187629`.
    """
    try:
        text = unpacked(data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("list", "CSV that is not UTF-8", hint="save the file as UTF-8") from error
    rows = list(_csv(text))
    heading = [c.strip().lower() for c in rows[0]] if rows else []
    if not {"uid", "name"} <= set(heading) <= set(_CSV_COLUMNS):
        hint = "the heading is " + ",".join(_CSV_COLUMNS)
        raise Unreadable("list", "CSV without the expected heading", hint=hint)
    grouped: dict[str, list[dict[str, str]]] = defaultdict(list)
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(heading):
            reason = f"row {number} has {len(row)} fields, expected {len(heading)}"
            raise Unreadable("list", reason, hint="correct the row and import again")
        cells = dict(zip(heading, map(str.strip, row), strict=True))
        if not cells["uid"] or not cells["name"]:
            reason = f"row {number} lacks uid or name"
            raise Unreadable("list", reason, hint="correct the row and import again")
        grouped[cells["uid"]].append(cells)
    return ListSnapshot(
        list_id=list_id,
        source=source or f"imported file {list_id}",
        version=version,
        sha256=sha256_of(data),
        entries=tuple(_csv_entry(uid, cells) for uid, cells in grouped.items()),
        loaded_at=loaded_at,
        sample=sample,
    )


def _csv_entry(uid: str, rows: list[dict[str, str]]) -> Entry:
    """Return one entry of the plain form."""
    names = [
        Alias(
            row["name"],
            WEAK if row.get("quality", "").lower() in ("weak", "low") else STRONG,
            "aka" if number else "primary",
        )
        for number, row in enumerate(rows)
    ]
    kind = rows[0].get("type", "")
    kinds = ("person", "organisation", "vessel", "aircraft")

    def all_of(column: str) -> list[str]:
        return [v.strip() for row in rows for v in row.get(column, "").split("|")]

    return _entry(
        uid,
        kind if kind in kinds else "organisation",
        names,
        all_of("programs"),
        list(filter(None, all_of("birth_date"))),
        all_of("country"),
        [i for i in all_of("ids") if ":" in i],
    )


_SHIPPED_OFAC = (
    ("ofac-sdn", "2021-07-07", "ofac_sdn_20210707_{}.csv.gz", ("sdn", "alt", "add", "sdn_comments")),
    ("ofac-nonsdn", "2025-12-19", "ofac_nonsdn_20251219_cons_{}.csv.gz",
     ("prim", "alt", "add", "comments")),
)  # fmt: skip
_SHIPPED_UN = "un_consolidated_20260227.xml.gz"


def shipped_digest() -> str:
    """Return one SHA-256 over the shipped files, without reading the lists in them."""
    names = [_SHIPPED_UN] + [p.format(f) for _, _, p, files in _SHIPPED_OFAC for f in files]
    return sha256_of(*((DATA / "lists" / n).read_bytes() for n in names))


def shipped_lists() -> tuple[ListSnapshot, ...]:
    """Read the lists that come with the product: sample data, stale (data/lists/PROVENANCE.md)."""
    folder = DATA / "lists"
    found = [read_un_xml((folder / _SHIPPED_UN).read_bytes(), sample=True)]
    for list_id, version, pattern, files in _SHIPPED_OFAC:
        parts = [(folder / pattern.format(f)).read_bytes() for f in files]
        found.append(read_ofac(*parts, list_id=list_id, version=version, sample=True))
    return tuple(found)
