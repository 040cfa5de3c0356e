"""What people read in an audit pack: the timeline of its streams and the first page, without a network.

The sentences are those of the console; each line says where its record is in the log, and which file of the pack
proves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import msgspec

from usance.kernel.clock import parse_instant
from usance.kernel.decider import Decider, key_parts
from usance.kernel.errors import UsanceError
from usance.views.asking import flat
from usance.views.asking_history import changes
from usance.views.results_history import Change
from usance.views.sentences import sentence

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
NOUNS = {
    "credit": "Credit",
    "presentation": "Presentation",
    "facility": "Facility",
    "message": "Message",
    "screening": "Screening",
    "case": "Case",
    "saga": "Workflow",
}
ORDER = tuple(NOUNS)
WORKFLOW = "saga"
"""Streams that the overview leaves out: what they do shows in the others."""

UUID_LETTERS = 36

STYLE = """
:root { --bg: #f7f7f4; --surface: #fff; --line: #dcdcd5; --text: #1d2024; --muted: #565c65; --accent: #1b5796;
  --mark: #fff3c9; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --bg: #15171a; --surface: #1c1f23; --line: #343a41; --text: #e4e6e8;
  --muted: #a3abb4; --accent: #84b6ec; --mark: #4a3f14; } }
* { box-sizing: border-box; }
html { font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; background: var(--bg); color: var(--text); }
body { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 20px; margin: 0 0 4px; } h2 { font-size: 15px; margin: 32px 0 8px; }
p { margin: 0 0 8px; } a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
.muted { color: var(--muted); } .small { font-size: 12px; } .nowrap { white-space: nowrap; }
code, pre { font: 12.5px ui-monospace, "SF Mono", "Cascadia Mono", "Liberation Mono", Menlo, monospace; }
code { overflow-wrap: anywhere; }
pre { background: var(--surface); border: 1px solid var(--line); border-radius: 4px; padding: 12px;
  overflow-x: auto; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2px 16px; margin: 0; }
dt { color: var(--muted); } dd { margin: 0; }
.card { background: var(--surface); border: 1px solid var(--line); border-radius: 4px; padding: 16px;
  margin: 16px 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th { text-align: left; color: var(--muted); font-weight: 600; font-size: 12px; }
th, td { padding: 5px 12px 5px 0; border-top: 1px solid var(--line); vertical-align: top; }
.num { text-align: right; } summary { cursor: pointer; color: var(--accent); font-size: 12px; }
td.after { background: var(--mark); } details table { margin: 4px 0 8px; }
@media print { body { max-width: none; } details { display: block; } }
"""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a stream: what happened, by whom, when, where it is proven, what it changed."""

    revision: int
    event_id: str
    type: str
    time: str
    log_time: int
    person: str
    role: str
    sentence: str
    article: str
    command_id: str
    place: str
    hash: str
    changed: list[Change]


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as it is in a pack: its state before the first event, as dotted names, and all events."""

    stream: str
    initial: dict[str, str]
    facts: list[Fact]


def history_of(
    stream: str,
    decider: Decider[Any] | None,
    lines: Sequence[Mapping[str, Any]],
    messages: Sequence[Any],
) -> Story:
    """Return a stream's history: each event's line in the pack, its message, what it changed in the state.

    Applying the changes of revisions 1 to n, in order, to `initial` gives the state after n. A message of None
    is one that cannot be read here: it is told by its type, and changes nothing.
    """
    facts = []
    state = decider.initial(stream) if decider else None
    first = flat(state) if decider else {}
    for line, message in zip(lines, messages, strict=True):
        before, changed = state, list[Change]()
        if decider is not None and message is not None:
            try:
                state = decider.evolve(before, message)
                changed = changes(before, state)
            except (UsanceError, AttributeError, TypeError):
                decider = (
                    None  # a block is sealed that the state needs: the rest is told in sentences
                )
        said, article = sentence(message) if message is not None else (line["type"], "")
        actor = line["meta"]["actor"]
        facts.append(
            Fact(
                revision=line["meta"]["revision"],
                event_id=line["id"],
                type=line["type"].rpartition(".")[2],
                time=line["time"],
                log_time=line["log_time"],
                person=actor["person"],
                role=actor["role"],
                sentence=said,
                article=article,
                command_id=line["meta"]["command_id"],
                place=f"{line['topic']}/p{line['partition']:03d}#{line['index']}",
                hash=line["envelope_hash"],
                changed=changed,
            )
        )
    return Story(stream=stream, initial=first, facts=facts)


def instant_text(time: str) -> str:
    """Return `27 Nov 2026 14:03 UTC` of RFC 3339 text."""
    day, _, clock = time.partition("T")
    year, month, date = day.split("-")
    return f"{int(date)} {MONTHS[int(month) - 1]} {year} {clock[:5]} UTC"


def timeline_page(
    title: str, facts: Mapping[str, str], stories: Iterable[Story], names: Mapping[str, str]
) -> bytes:
    """Return the timeline as one page: an overview in order of time, then stream by stream with changes."""
    told = sorted(stories, key=_rank)
    acts = [story for story in told if key_parts(story.stream).category != WORKFLOW] or told
    everything = sorted(
        ((fact, story.stream) for story in acts for fact in story.facts),
        key=lambda one: _moment(one[0]),
    )
    rows = "".join(_row(fact, names, stream) for fact, stream in everything)
    below = '<p class="small muted">Workflows, with their steps and timers, stand below.</p>'
    body = (
        f"<h1>{escape(title)}</h1>{_facts(facts)}"
        f"<h2>Timeline</h2>{below if len(acts) < len(told) else ''}{_table(rows, stream=True)}"
        + "".join(
            f'<h2 id="{escape(story.stream)}">{escape(_noun(story.stream))}</h2>'
            f'<p class="small muted"><code>{escape(story.stream)}</code></p>'
            + _table("".join(_row(fact, names) for fact in story.facts))
            for story in told
        )
    )
    return _page(title, body)


def readme_page(title: str, facts: Mapping[str, str], fingerprint: str, verifier: str) -> bytes:
    """Return the pack's first page: what it is, what it holds, how to verify it."""
    body = f"""<h1>{escape(title)}</h1>
<p>An extract from a bank's documentary-trade log, with everything that is needed to check that it is genuine,
complete and unaltered, without the bank and without its software.</p>
<div class="card">{_facts(facts)}</div>
<p><a href="index.html">Read the timeline</a> · <a href="record-history.json">Every version of every record</a> ·
<a href="VERIFY.txt">How to verify, with other people's tools too</a></p>
<h2>Verify it</h2>
<pre>unzip -p PACK.zip verify.py &gt; verify.py
python3 -I -S verify.py PACK.zip --trust {escape(fingerprint)}</pre>
<p>The 44 characters behind <code>--trust</code> name whose keys you trust. Take them from the covering letter, not
from this page: a forger would print his own here. <code>verify.py</code> has the SHA-256
<code>{escape(verifier)}</code>.</p>
<h2>What it shows, and what it does not</h2>
<p>Records are proven by the exact bytes that the log stores. Private parts that are sealed stay sealed, and are
proven as they are: erasing a key later breaks no proof. Every stream is here from its first event to the count
that was sealed when the pack was handed over. Sentences, names and changes in the pages are the bank's rendering
of those records; the records themselves are in <code>events/</code> and <code>envelopes/</code>.</p>
"""
    return _page(title, body)


def _page(title: str, body: str) -> bytes:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}'
    style = f"</title><style>{STYLE}</style></head>"
    whole = f'<!doctype html>\n<html lang="en"><head>{head}{style}<body>{body}</body></html>\n'
    return whole.encode()


def _facts(facts: Mapping[str, str]) -> str:
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value
    )
    return f"<dl>{items}</dl>"


def _table(rows: str, *, stream: bool = False) -> str:
    first = "<th>Of</th>" if stream else '<th class="num">Revision</th>'
    head = f"<tr>{first}<th>When</th><th>What</th><th>Who</th><th>In the log</th></tr>"
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _row(fact: Fact, names: Mapping[str, str], of: str = "") -> str:
    first = f'<td class="num">{fact.revision}</td>'
    if of:
        first = f'<td><a href="#{escape(of)}">{escape(_noun(of))}</a></td>'
    article = f' <span class="small muted">{escape(fact.article)}</span>' if fact.article else ""
    who = names.get(fact.person) or fact.person or fact.role
    changed = "" if of else _changed(fact.changed)
    return (
        f'<tr>{first}<td class="nowrap">{instant_text(fact.time)}</td>'
        f"<td>{escape(fact.sentence)}{article}{changed}</td>"
        f'<td><abbr title="{escape(fact.person)}, {escape(fact.role)}">{escape(who)}</abbr></td>'
        f'<td class="small muted nowrap"><code title="envelope {fact.hash}">{escape(fact.place)}</code></td></tr>'
    )


def _changed(changed: Sequence[Change]) -> str:
    if not changed:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(c.field)}</code></td><td>{escape(c.before) or '–'}</td>"
        f'<td class="after">{escape(c.after) or "–"}</td></tr>'
        for c in changed
    )
    count = f"{len(changed)} field{'' if len(changed) == 1 else 's'} changed"
    head = "<thead><tr><th>Field</th><th>Before</th><th>After</th></tr></thead>"
    return (
        f"<details><summary>{count}</summary><table>{head}<tbody>{rows}</tbody></table></details>"
    )


def _noun(stream: str) -> str:
    parts = key_parts(stream)
    identity = parts.identity[:8] if len(parts.identity) == UUID_LETTERS else parts.identity
    return f"{NOUNS.get(parts.category, parts.category.capitalize())} {identity}"


def _moment(fact: Fact) -> tuple[int, int, bool, str, int]:
    """Return the order of a timeline; what came at once in one tree stands as it does there."""
    tree, _, index = fact.place.partition("#")
    when = parse_instant(fact.time), fact.log_time
    return (*when, not tree.startswith("trade."), tree, int(index))


def _rank(story: Story) -> tuple[int, str, str]:
    category = key_parts(story.stream).category
    at = ORDER.index(category) if category in ORDER else len(ORDER)
    first = story.facts[0].time if story.facts else ""
    return at, first, story.stream
