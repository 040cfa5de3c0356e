"""Code lists that fields draw on."""

from __future__ import annotations

COUNTRIES = frozenset(
    """AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR
    BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC
    EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK
    HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB
    LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ
    NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU
    RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN
    TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW""".split()
)
"""ISO 3166-1 alpha-2, and XK, which banks use for Kosovo."""

FORMS = frozenset({"IRREVOCABLE", "IRREVOCABLE TRANSFERABLE"})
"""40A, and 40B line 1. Standby forms left the credit messages for MT760."""

STANDBY_FORMS = frozenset({"IRREVOCABLE STANDBY", "IRREVOC TRANS STANDBY"})
"""40A of releases before SR2021."""

CONFIRMATIONS_ADDED = frozenset({"ADDING OUR CONFIRMATION", "WITHOUT OUR CONFIRMATION"})
"""40B line 2."""

RULES = frozenset(
    f"{rules} LATEST VERSION" for rules in ("UCP", "UCPURR", "EUCP", "EUCPURR", "ISP")
) | {"OTHR"}
"""40E, first part."""

AVAILABILITY = frozenset(
    {"BY ACCEPTANCE", "BY DEF PAYMENT", "BY MIXED PYMT", "BY NEGOTIATION", "BY PAYMENT"}
)
"""41a, last line."""

ALLOWANCES = frozenset({"ALLOWED", "CONDITIONAL", "NOT ALLOWED"})
"""43P, 43T."""

CONFIRMATIONS = frozenset({"CONFIRM", "MAY ADD", "WITHOUT"})
"""49."""

CHARGES = frozenset(
    ("AGENT", "COMM", "CORCOM", "DISC", "INSUR", "POST", "STAMP", "TELECHAR", "WAREHOUS")
)
"""71D and 73A, where a line is coded."""

AMENDMENT_PURPOSES = frozenset({"ACNF", "ADVI", "ISSU"})
"""22A of MT707."""

AMENDMENT_CHARGES = frozenset({"APPL", "BENE", "OTHR"})
"""71N."""

CHANGES = frozenset({"ADD", "DELETE", "REPALL"})
"""45B, 46B, 47B, 49M, 49N."""

DISPOSALS = frozenset({"HOLD", "NOTIFY", "PREVINST", "RETURN"})
"""77B of MT734: what happens to refused documents."""

TAKE_UPS = frozenset({"ACCEPT", "DEBIT", "NEGOTIATE", "REIMBURSE", "REMITTED", "SEE72Z"})
"""23 of MT752."""

REIMBURSEMENT_CHARGES = frozenset({"CLM", "OUR"})
"""71A of MT740."""
