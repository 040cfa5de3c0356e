"""Layout and format tables of category 7, by the standards release from which each row holds.

Layouts: tags in order; letters after the number are the options allowed (`51AD` is 51A or 51D),
`?` optional, `*` repeatable, `(name ...)` a group whose fields stand together, `(name ...)?` an
optional one. Formats: SWIFT's notation with `$` for a line break, `B` for a BIC, then the meaning
of the components in order. Sources and open points: README.md in this folder.
"""

from __future__ import annotations

LAYOUTS: dict[str, dict[int, str]] = {
    "700": {
        2018: """27 40A 20 23? 31C 40E 31D 51AD? 50 59 32B 39A? 39C? 41AD 42C? 42AD? 42M? 42P?
            43P? 43T? 44A? 44E? 44F? 44B? 44C? 44D? 45A? 46A? 47A? 49G? 49H? 71D? 48? 49
            58AD? 53AD? 78? 57ABD? 72Z?""",
        2026: """27 40A 20 23? 31C 40E 31D 51AD? (applicant 50N 50S 50T 50P? 50R )
            (beneficiary 59N 59S 59T 59P? 59R ) 32B 39A? 39C? 41AD 42C? 42AD? 42M? 42P?
            43P? 43T? 44A? 44E? 44F? 44B? 44C? 44D? 44I? 45A? 46A? 47A? 45H? 49G? 49H? 71D? 48? 49
            58AD? 53AD? 78K? 57ABD? 72Z?""",
    },
    "701": {2018: "27 20 45A? 46A? 47A? 49G? 49H?"},
    "707": {
        2018: """27 20 21 23 52AD? 50B? 31C 26E 30 22A 23S? 40A? 40E? 31D? 50? 59? 32B? 33B? 39A?
            39C? 41AD? 42C? 42AD? 42M? 42P? 43P? 43T? 44A? 44E? 44F? 44B? 44C? 44D? 45B? 46B? 47B?
            49M? 49N? 71D? 71N? 48? 49? 58AD? 53AD? 78? 57ABD? 72Z?""",
        2026: """27 20 21 23 52AD? (issuer 50E 50I 50M 50U? 50W )? 31C 26E 30 22A 23S? 40A? 40E?
            31D? (applicant 50N 50S 50T 50P? 50R )? (beneficiary 59N 59S 59T 59P? 59R )? 32B? 33B?
            39A? 39C? 41AD? 42C? 42AD? 42M? 42P? 43P? 43T? 44A? 44E? 44F? 44B? 44C? 44D? 44I? 45B?
            46B? 47B? 45H? 49M? 49N? 71D? 71N? 48? 49? 58AD? 53AD? 78K? 57ABD? 72Z?""",
    },
    "708": {
        2018: "27 20 21? 23 26E 30 45B? 46B? 47B? 49M? 49N?",
        2021: "27 20 21 23 26E 30 45B? 46B? 47B? 49M? 49N?",
    },
    "710": {
        2018: """27 40B 20 21 23? 31C 40E 31D 52AD? 50B? 51AD? 50 59 32B 39A? 39C? 41AD 42C? 42AD?
            42M? 42P? 43P? 43T? 44A? 44E? 44F? 44B? 44C? 44D? 45A? 46A? 47A? 49G? 49H? 71D? 48? 49
            58AD? 53AD? 78? 78D? 57ABD? 72Z?""",
        2026: """27 40B 20 21 23? 31C 40E 31D 52AD? (issuer 50E 50I 50M 50U? 50W )? 51AD?
            (applicant 50N 50S 50T 50P? 50R ) (beneficiary 59N 59S 59T 59P? 59R ) 32B 39A? 39C? 41AD
            42C? 42AD? 42M? 42P? 43P? 43T? 44A? 44E? 44F? 44B? 44C? 44D? 44I? 45A? 46A? 47A? 45H?
            49G? 49H? 71D? 48? 49 58AD? 53AD? 78K? 78D? 57ABD? 72Z?""",
    },
    "711": {2018: "27 20 21 45A? 46A? 47A? 49G? 49H?"},
    "720": {
        2018: """27 40B 20 21 31C 40E 31D 52AD? 50B? 50 59 32B 39A? 39C? 41AD 42C? 42AD?
            42M? 42P? 43P? 43T? 44A? 44E? 44F? 44B? 44C? 44D? 45A? 46A? 47A? 49G? 49H? 71D? 48? 49
            58AD? 78? 78D? 57ABD? 72Z?""",
        2026: """27 40B 20 21 31C 40E 31D 52AD? (issuer 50E 50I 50M 50U? 50W )?
            (first-beneficiary 50N 50S 50T 50P? 50R ) (second-beneficiary 59N 59S 59T 59P? 59R ) 32B
            39A? 39C? 41AD 42C? 42AD? 42M? 42P? 43P? 43T? 44A? 44E? 44F? 44B? 44C? 44D? 44I? 45A?
            46A? 47A? 45H? 49G? 49H? 71D? 48? 49 58AD? 78K? 78D? 57ABD? 72Z?""",
    },
    "721": {2018: "27 20 21 45A? 46A? 47A? 49G? 49H?"},
    "730": {2018: "20 21 25? 30 32BD? 57AD? 71D? 72Z? 79Z?"},
    "732": {2018: "20 21 30 32B 72Z?"},
    "734": {2018: "20 21 32A 73A? 33AB? 57ABD? 72Z? 77J 77B"},
    "740": {
        2018: """20 25? 40F 31D? 58AD? 59? 32B 39A? 39C? 41AD 42C? 42AD? 42M? 42P? 71A? 71D?
            72Z?""",
        2026: """20 25? 40F 31D? 58AD? (beneficiary 59N 59S 59T 59P? 59R )? 32B 39A? 39C? 41AD 42C?
            42AD? 42M? 42P? 71A? 71D? 72Z?""",
    },
    "742": {2018: "20 21 31C? 52AD 32B 33B? 71D? 34AB 57ABD? 58AD? 72Z?"},
    "750": {2018: "20 21 32B 33B? 71D? 73A? 34B? 57ABD? 72Z? 77J"},
    "752": {2018: "20 21 23 30 32B? 71D? 33AB? 53ABD? 54ABD? 72Z? 79Z?"},
    "754": {2018: "20 21 32AB 33B? 71D? 73A? 34AB? 53ABD? 57ABD? 58AD? 72Z? 77?"},
    "756": {2018: "20 21 32B 33A 53ABD? 54ABD? 72Z? 79Z?"},
    "799": {2018: "20 21? 79*"},
}
"""Message type to the layouts it has had; each holds from its release to the next one's."""

FORMATS: dict[int, str] = {
    2018: """
        20 21: 16x ref
        22A: 4!c
        23: 16x
        23S: 6!a
        25: 35x
        26E: 3n
        27: 1!n/1!n
        30 31C 44C: 6!n date
        31D: 6!n29x date
        32A 32D 33A 34A: 6!n3!a15d date currency amount
        32B 33B 34B: 3!a15d currency amount
        39A: 2n/2n
        39C 42M 42P 50 50B: 4*35x
        40A: 24x
        40B: 24x$24x
        40E: 30x[/35x]
        40F: 30x
        41A: B$14x bic
        41D: 4*35x$14x
        42A 51A 52A 53A 54A 57A 58A: [[/1!a][/34x]$]B bic
        53B 54B 57B: [[/1!a][/34x]$][35x]
        42D 51D 52D 53D 54D 57D 58D: [[/1!a][/34x]$]4*35x
        42C: 3*35x
        43P 43T: 11x
        44A 44B 44E 44F: 140z
        44D: 6*65x
        45A 45B 46A 46B 47A 47B 49G 49H 49M 49N: 100*65z
        48: 3n[/35x]
        49: 7!x
        59: [/34x$]4*35x
        71A: 3!a
        71D 72Z 73A: 6*35z
        71N: 4!c[$6*35z]
        77: 20*35z
        77B: 3*35x
        77J: 70*50z
        78 78D: 12*65x
        79: 35*50x
        79Z: 35*50z
    """,
    2026: """
        42C: 3*35z
        44A 44B 44E 44F: 2*70z
        44I: 3!a[$2*70z]
        45H: 65x
        50N 50S 59N 59S 50E 50I: 4*35z
        50T 59T 50M: 35z
        50P 59P 50U: 16z
        50R 59R 50W: 2!a country
        78D: 12*65z
        78K: 30*65z
    """,
}
"""Tags to the format they have in all types above; a later release's rows replace earlier ones."""
