"""Write the banking calendars that the program reads, from the `holidays` library and own facts.

Run it when the library has new years or corrections, raise TABLE, and commit the file it writes:
`python tools/build_calendars.py`. Deadlines already recorded keep the version they were made with.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import holidays

TABLE = 1
"""Our own edition: raise it with every change of this file that changes the data."""

YEARS = range(2018, 2036)
TARGET = Path(__file__).parent.parent / "src" / "usance" / "data" / "calendars" / "banking.json"


class City(NamedTuple):
    """A banking place: how its days are found, and under which names it is written.

    `sources` are `country[-subdivision][:category...]`, or `=code` for a financial calendar; a day
    closed in any of them is closed. `fixed` are yearly bank closings (MM-DD) that are no public
    holidays.
    """

    id: str  # UN/LOCODE
    zone: str
    sources: str
    names: str
    countries: str  # ISO 3166 codes whose banks we place here
    hours: str = "09:00-17:00"
    weekends: str = "sat-sun"
    fixed: str = ""


CITIES = [
    City("GBLON", "Europe/London", "GB-ENG", "LONDON,UNITED KINGDOM,ENGLAND,GREAT BRITAIN", "GB"),
    City("USNYC", "America/New_York", "=XFED", "NEW YORK,UNITED STATES,USA", "US"),
    City("SGSIN", "Asia/Singapore", "SG", "SINGAPORE", "SG"),
    City("HKHKG", "Asia/Hong_Kong", "HK", "HONG KONG,HONGKONG,KOWLOON", "HK"),
    City("DEFRA", "Europe/Berlin", "DE-HE =XECB", "FRANKFURT,GERMANY", "DE"),
    City("FRPAR", "Europe/Paris", "FR =XECB", "PARIS,FRANCE", "FR MC"),
    City("EUTGT", "Europe/Brussels", "=XECB", "BRUSSELS,AMSTERDAM,MILAN,MADRID",
         "AT BE BG CY EE ES FI GR HR IE IT LT LU LV MT NL PT SI SK"),
    City("CHZRH", "Europe/Zurich", "CH-ZH", "ZURICH,SWITZERLAND,GENEVA", "CH LI",
         fixed="01-02"),  # Berchtold's Day
    City("JPTYO", "Asia/Tokyo", "JP:public:bank", "TOKYO,JAPAN,OSAKA", "JP", "09:00-15:00"),
    City("CNSHA", "Asia/Shanghai", "CN", "SHANGHAI,CHINA,BEIJING,SHENZHEN,GUANGZHOU,NINGBO", "CN"),
    City("TWTPE", "Asia/Taipei", "TW", "TAIPEI,TAIWAN", "TW", "09:00-15:30"),
    City("KRSEL", "Asia/Seoul", "KR:public:bank", "SEOUL,KOREA", "KR", "09:00-16:00"),
    City("AEDXB", "Asia/Dubai", "AE", "DUBAI,UNITED ARAB EMIRATES,UAE,ABU DHABI", "AE",
         "08:00-15:00", "fri-sat until 2021-12-31 sat-sun"),
    City("SARUH", "Asia/Riyadh", "SA", "RIYADH,SAUDI ARABIA,JEDDAH", "SA", "09:30-16:30",
         "fri-sat"),
    City("QADOH", "Asia/Qatar", "QA:public:bank", "DOHA,QATAR", "QA", "07:30-13:00", "fri-sat"),
    City("EGCAI", "Africa/Cairo", "EG", "CAIRO,EGYPT", "EG", "08:30-15:00", "fri-sat"),
    City("INBOM", "Asia/Kolkata", "IN-MH", "MUMBAI,BOMBAY,INDIA,NEW DELHI,CHENNAI,KOLKATA", "IN",
         "10:00-16:00", "sun-and-2nd-4th-sat", "04-01"),  # annual closing of accounts
    City("BDDAC", "Asia/Dhaka", "BD", "DHAKA,DACCA,BANGLADESH,CHITTAGONG,CHATTOGRAM", "BD",
         "10:00-16:00", "fri-sat", "07-01 12-31"),  # half-yearly and yearly bank holidays
    City("PKKHI", "Asia/Karachi", "PK", "KARACHI,PAKISTAN,LAHORE", "PK", "09:00-17:00"),
    City("IDJKT", "Asia/Jakarta", "ID", "JAKARTA,INDONESIA", "ID", "08:00-15:00"),
    City("MYKUL", "Asia/Kuala_Lumpur", "MY-KUL", "KUALA LUMPUR,MALAYSIA", "MY"),
    City("THBKK", "Asia/Bangkok", "TH:public:bank", "BANGKOK,THAILAND", "TH", "08:30-15:30"),
    City("VNSGN", "Asia/Ho_Chi_Minh", "VN", "HO CHI MINH,VIETNAM,VIET NAM,HANOI", "VN",
         "08:00-16:30"),
    City("PHMNL", "Asia/Manila", "PH", "MANILA,PHILIPPINES", "PH", "09:00-15:00"),
    City("AUSYD", "Australia/Sydney", "AU-NSW", "SYDNEY,AUSTRALIA,MELBOURNE", "AU"),
    City("TRIST", "Europe/Istanbul", "TR", "ISTANBUL,TURKEY,TURKIYE,ANKARA", "TR"),
    City("ZAJNB", "Africa/Johannesburg", "ZA", "JOHANNESBURG,SOUTH AFRICA", "ZA"),
    City("NGLOS", "Africa/Lagos", "NG", "LAGOS,NIGERIA", "NG", "08:00-16:00"),
    City("KENBO", "Africa/Nairobi", "KE", "NAIROBI,KENYA,MOMBASA", "KE", "09:00-16:00"),
    City("BRSAO", "America/Sao_Paulo", "BR-SP", "SAO PAULO,BRAZIL,BRASIL", "BR", "10:00-16:00"),
    City("CATOR", "America/Toronto", "CA-ON", "TORONTO,CANADA", "CA"),
]  # fmt: skip

FORCE_MAJEURE = {
    "HKHKG": {
        "2023-07-17": "Typhoon Talim, signal no. 8",
        "2023-09-01": "Typhoon Saola, signal no. 8",
        "2023-09-08": "Black rainstorm warning",
    },
}
"""Days on which force majeure shut the banks (article 36): credits expiring then stay expired."""


def days_of(source: str) -> tuple[set[date], set[date]]:
    """Return the closed days of one source, and the weekend days on which its people work."""
    years = list(YEARS)
    if source.startswith("="):
        return set(holidays.financial_holidays(source[1:], years=years)), set()
    place, *categories = source.split(":")
    country, _, subdivision = place.partition("-")
    calendar = holidays.country_holidays(
        country,
        subdiv=subdivision or None,
        years=years,
        categories=tuple(categories) or ("public",),
    )
    worked = {day for day in calendar.weekend_workdays if day.year in YEARS}
    return set(calendar), worked if country == "CN" else set()


def fixed_days(city: City) -> set[date]:
    """Return the yearly bank closings of a city."""
    return {date.fromisoformat(f"{year}-{text}") for year in YEARS for text in city.fixed.split()}


def by_year(days: set[date]) -> dict[str, str]:
    """Return `{year: "MM-DD MM-DD ..."}`: one readable line a year."""
    return {
        str(year): " ".join(sorted(f"{d:%m-%d}" for d in days if d.year == year)) for year in YEARS
    }


def weekends_of(text: str) -> list[dict[str, str]]:
    """Return the weekend rules in order of time, each with its last day (empty: for ever)."""
    first, _, rest = text.partition(" until ")
    if not rest:
        return [{"rule": first, "until": ""}]
    until, _, second = rest.partition(" ")
    return [{"rule": first, "until": until}, {"rule": second, "until": ""}]


def table(city: City) -> dict[str, object]:
    """Return one city's part of the file."""
    closed, worked = fixed_days(city), set()
    for source in city.sources.split():
        days, open_days = days_of(source)
        closed |= days
        worked |= open_days
    opens, closes = city.hours.split("-")
    forced = FORCE_MAJEURE.get(city.id, {})
    return {
        "zone": city.zone,
        "opens": opens,
        "closes": closes,
        "countries": city.countries.split(),
        "names": city.names.split(","),
        "sources": city.sources.split(),
        "weekends": weekends_of(city.weekends),
        "closed": by_year(closed - {date.fromisoformat(day) for day in forced}),
        "worked": sorted(str(day) for day in worked),
        "force_majeure": forced,
    }


HOLIDAYS = version("holidays")


def build() -> dict[str, object]:
    """Return the whole file as data."""
    return {
        "version": f"{TABLE}+holidays-{version('holidays')}",
        "first_year": YEARS[0],
        "last_year": YEARS[-1],
        "provenance": f"holidays {version('holidays')} (MIT licence) and own facts;"
        " written by tools/build_calendars.py",
        "cities": {city.id: table(city) for city in CITIES},
    }


def main() -> None:
    """Write the file, or with `--check` only say whether it is what this tool would write."""
    text = json.dumps(build(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET.name} is stale: run {sys.argv[0]}")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text)
    print(f"{TARGET.name}: {len(CITIES)} cities, {len(text):,} bytes")


if __name__ == "__main__":
    main()
