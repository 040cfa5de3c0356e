"""Money: integer minor units with an ISO 4217 code; floats never touch it."""

from __future__ import annotations

from typing import NamedTuple

MINOR_UNITS: dict[str, int] = {
    "BHD": 3,
    "BIF": 0,
    "CLF": 4,
    "CLP": 0,
    "DJF": 0,
    "GNF": 0,
    "IQD": 3,
    "ISK": 0,
    "JOD": 3,
    "JPY": 0,
    "KMF": 0,
    "KRW": 0,
    "KWD": 3,
    "LYD": 3,
    "OMR": 3,
    "PYG": 0,
    "RWF": 0,
    "TND": 3,
    "UGX": 0,
    "UYI": 0,
    "UYW": 4,
    "VND": 0,
    "VUV": 0,
    "XAF": 0,
    "XOF": 0,
    "XPF": 0,
}
"""Currencies whose minor unit is not two decimals (ISO 4217 list one)."""

CURRENCIES = frozenset(
    """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP
    BYN BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR
    FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES
    KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR
    MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS
    UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG""".split()
)


def decimals(currency: str) -> int:
    """Return the number of decimals of a currency's minor unit."""
    return MINOR_UNITS.get(currency, 2)


class Money(NamedTuple):
    """An amount in minor units of one currency."""

    currency: str
    minor: int

    def __str__(self) -> str:
        """Return `USD 1,000.00`."""
        return f"{self.currency} {format_minor(self.minor, self.currency)}"


def format_minor(minor: int, currency: str) -> str:
    """Return minor units as a grouped decimal number, such as `1,000.00`."""
    places = decimals(currency)
    if places == 2 and minor >= 0:  # nearly always
        return f"{minor // 100:,}.{minor % 100:02}"
    sign, digits = ("-" if minor < 0 else ""), str(abs(minor)).rjust(places + 1, "0")
    whole, fraction = (digits[:-places], digits[-places:]) if places else (digits, "")
    grouped = f"{int(whole):,}"
    return f"{sign}{grouped}.{fraction}" if places else f"{sign}{grouped}"


def parse_decimal(text: str, currency: str, *, separator: str = ".") -> int:
    """Return the minor units of a decimal text; raises ValueError on more decimals than ISO 4217 allows."""
    whole, _, fraction = text.replace(" ", "").partition(separator)
    places = decimals(currency)
    if not whole.lstrip("-").isdigit() or (fraction and not fraction.isdigit()):
        raise ValueError("not a decimal number")
    if len(fraction.rstrip("0")) > places:
        raise ValueError(f"{currency} has {places} decimals")
    minor = int(abs(int(whole)) * 10**places + int(fraction[:places].ljust(places, "0") or "0"))
    return -minor if whole.startswith("-") else minor


def percent_of(minor: int, percent: int) -> int:
    """Return `percent` per cent of an amount, rounded down to the minor unit."""
    return minor * percent // 100


def with_percent(minor: int, percent: int) -> int:
    """Return an amount increased by `percent` per cent, rounded down to the minor unit."""
    return minor + percent_of(minor, percent)
