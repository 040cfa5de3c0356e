// The audit pages' script: runs `proof.js`, shows step by step what held, keeps what the auditor trusts and has seen.
import { Detected, Incapable, b64, parseTrust, verifyEvent, verifyHeads } from "./proof.js";

const TRUST = "usance.audit.trust", SEEN = "usance.audit.heads";
const all = (what, within = document) => [...within.querySelectorAll(what)];
const kept = (name) => { try { return JSON.parse(localStorage.getItem(name)) ?? null; } catch { return null; } };
const keep = (name, value) => { if (value === null) localStorage.removeItem(name); else localStorage.setItem(name, JSON.stringify(value)); };
const element = (name, words, more = {}) => Object.assign(document.createElement(name), { textContent: words }, more);

async function trusted(answer) {
  const pinned = kept(TRUST);
  return { pinned: Boolean(pinned), at: pinned?.at, ...(await parseTrust(pinned ? pinned.text : answer.policy)) };
}

function remember(heads) {
  const seen = kept(SEEN) ?? {};
  for (const [origin, head, checkpoint] of heads) seen[origin] = { size: head.size, root: b64(head.root), at: Date.now(), checkpoint };
  keep(SEEN, seen);
}

const RETRIES = 3, RETRY_MS = 1000;
const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

async function run(card, tries = RETRIES) {
  const steps = card.querySelector("ol"), verdict = card.querySelector(".verdict"), button = card.querySelector("[data-run]");
  const tell = (words) => steps.append(element("li", words, { className: "held" }));
  const end = (tone, code, words, hint = "") => {
    verdict.className = "verdict banner " + tone;
    verdict.dataset.code = code;
    const p = document.createElement("p");
    p.append(element("b", `${{ good: "✓", wait: "◷", bad: "✕" }[tone]} ${code}`), " " + words);
    verdict.replaceChildren(p, ...(hint ? [element("p", hint)] : []));
  };
  const seen = kept(SEEN) ?? {}, event = card.dataset.verify === "event";
  let answer = null;
  steps.replaceChildren();
  all(".evidence", card).forEach((old) => old.remove());
  button.disabled = true;
  end("wait", "VERIFYING", "your browser fetches the proof and checks it");
  try {
    const heads = card.dataset.heads, tree = card.dataset.tree, size = (origin) => seen[origin]?.size ?? 0;
    const query = event ? `?heads=${size(heads)}&tree=${size(tree)}` : `?since=${size(heads)}`;
    const response = await fetch(card.dataset.url + query, { headers: { accept: "application/json" }, cache: "no-store" });
    answer = await response.json();
    if (!response.ok) { end("wait", "NO PROOF", answer.detail ?? response.statusText, answer.hint); return; }
    const trust = await trusted(answer);
    tell(trust.pinned ? `You pinned the keys on ${new Date(trust.at).toISOString().slice(0, 16)}Z: ${trust.logs[0].vkey}` : `No key is pinned: the program's own word is taken for ${trust.logs[0].vkey}`);
    if (event) {
      const { id, type, stream, hash } = card.dataset;
      const found = await verifyEvent(answer, { id, type, stream, hash }, trust, seen, tell);
      remember([[answer.heads, found.heads, answer.head_proof.slice(answer.head_proof.indexOf("\n\n") + 2)], [answer.origin, found.tree, answer.entry]]);
    } else {
      const found = await verifyHeads(answer, trust, seen[answer.origin], tell);
      remember([[answer.origin, found.head, answer.checkpoint]]);
    }
    const what = event ? "this event is in the log, as it was stored" : "the log of heads is signed, and extends what you have seen";
    if (trust.pinned) end("good", "WHOLE", what + ".");
    else end("wait", "WHOLE, BY THE PROGRAM'S OWN KEY", what + ": if that key is the bank's.", "Paste the key that you were given by another way under “Keys you trust”: the program cannot vouch for itself.");
  } catch (error) {
    if (error instanceof Incapable) { end("wait", "NOT VERIFIED", error.message); return; }
    if (error.code === "WITNESS_REFUSED" && tries > 0) { // a head is shown a moment before its witnesses have answered
      await pause(RETRY_MS);
      await run(card, tries - 1);
      return;
    }
    const found = error instanceof Detected ? error : new Detected("MALFORMED", "the answer cannot be read as a proof", String(error));
    steps.append(element("li", `${found.code}: ${found.reason}`, { className: "broke" }));
    end("bad", found.code, found.reason + ".", found.hint || "Keep the evidence below before anything is restored, and ask the bank.");
    const more = element("details", "", { className: "evidence" });
    more.append(element("summary", "Evidence: what was answered, and what you remember"), element("pre", JSON.stringify({ answer, remembered: seen, trust: kept(TRUST) }, null, 2)));
    card.append(more);
  } finally { button.disabled = false; document.dispatchEvent(new Event("verified")); }
}

function trustPanel(panel) {
  const field = panel.querySelector("textarea"), told = panel.querySelector(".told");
  const tell = () => {
    const pinned = kept(TRUST), seen = Object.entries(kept(SEEN) ?? {});
    told.textContent = (pinned ? `Pinned ${new Date(pinned.at).toISOString().slice(0, 16)}Z.` : "No key is pinned.") + ` This browser remembers ${seen.length} head${seen.length === 1 ? "" : "s"}.`;
  };
  document.addEventListener("verified", tell);
  const show = () => { field.value = kept(TRUST)?.text ?? ""; tell(); };
  const changed = () => { show(); all("[data-verify]").filter((c) => "auto" in c.dataset || c.querySelector("ol").children.length).forEach((c) => run(c)); };
  panel.querySelector("[data-pin]").addEventListener("click", async () => {
    try { await parseTrust(field.value); } catch (error) { told.textContent = error.reason ?? error.message; return; }
    keep(TRUST, { text: field.value.trim(), at: Date.now() });
    changed();
  });
  panel.querySelector("[data-unpin]").addEventListener("click", () => { keep(TRUST, null); changed(); });
  panel.querySelector("[data-forget]").addEventListener("click", () => { keep(SEEN, null); show(); });
  show();
  panel.open = !kept(TRUST);
}

all("[data-trust]").forEach(trustPanel);
all("[data-verify]").forEach((card) => {
  card.querySelector("[data-run]").addEventListener("click", () => { run(card); });
  card.classList.add("ready");
  if ("auto" in card.dataset) run(card);
});
