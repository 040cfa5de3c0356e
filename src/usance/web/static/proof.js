// Verifies proofs of a transparency log in the browser, with nothing but WebCrypto: RFC 6962 trees, C2SP signed
// notes, checkpoints, cosignatures and tlog-proofs. Every function either returns what holds or throws Detected.

const ED25519 = 1, COSIGNATURE = 4, HASHES_MAX = 63, NOTE_MAX = 1_000_000, SIGNATURES_MAX = 100;
const LEAF_BYTES = 62, MAGIC = "UL1\0", EVENT = 1;
const utf8 = new TextEncoder();
const NAMES = ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "usance-meta", "key", "value"];

/** Evidence that something is not what it says: `code` as in docs/proof.md. */
export class Detected extends Error {
  constructor(code, reason, hint = "") { super(reason); this.code = code; this.reason = reason; this.hint = hint; }
}
/** The browser cannot verify; nothing is known. */
export class Incapable extends Error {}

const malformed = (what) => new Detected("MALFORMED", what);

// -- bytes

export const b64 = (bytes) => btoa(String.fromCharCode(...bytes));
export function unb64(text) {
  let raw;
  try { raw = atob(text); } catch { throw malformed("text that should be base64 is not"); }
  if (btoa(raw) !== text) throw malformed("base64 is not in its one canonical form");
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}
export const hex = (bytes) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
export const equal = (a, b) => a.length === b.length && a.every((byte, n) => byte === b[n]);
const joined = (...parts) => {
  const whole = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
};
const number = (text, what) => {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text) || !Number.isSafeInteger(Number(text))) throw malformed(what);
  return Number(text);
};

export async function sha256(...parts) {
  if (!globalThis.crypto?.subtle) throw new Incapable("This browser offers no cryptography here: open the console over 127.0.0.1 or https.");
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...parts)));
}

// -- trees

export const leafHash = (entry) => sha256([0], entry);
const nodeHash = (left, right) => sha256([1], left, right);
export const emptyRoot = () => sha256();

const half = (n) => Math.floor(n / 2), odd = (n) => n % 2 === 1;
const hashes = (list) => list.length <= HASHES_MAX + 2 && list.every((h) => h instanceof Uint8Array && h.length === 32);

/** Tell whether a leaf hash stands at an index of the tree with this root (RFC 9162 2.1.3.2). */
export async function verifyInclusion(leaf, index, size, proof, root) {
  if (!(Number.isSafeInteger(size) && index >= 0 && index < size) || !hashes([leaf, root, ...proof])) return false;
  let at = index, last = size - 1, value = leaf;
  for (const sibling of proof) {
    if (last === 0) return false;
    if (odd(at) || at === last) {
      value = await nodeHash(sibling, value);
      while (!odd(at) && at) { at = half(at); last = half(last); }
    } else value = await nodeHash(value, sibling);
    at = half(at); last = half(last);
  }
  return last === 0 && equal(value, root);
}

/** Tell whether the tree of `size` leaves extends the one of `old` (RFC 9162 2.1.4.2). */
export async function verifyConsistency(old, size, oldRoot, root, proof) {
  if (!(Number.isSafeInteger(size) && old >= 0 && old <= size) || !hashes([oldRoot, root, ...proof])) return false;
  if (old === size) return !proof.length && equal(oldRoot, root);
  if (old === 0) return !proof.length && equal(oldRoot, await emptyRoot());
  if (!proof.length) return false;
  let power = old;
  while (!odd(power)) power = half(power);
  const path = power === 1 ? [oldRoot, ...proof] : proof;
  let at = old - 1, last = size - 1;
  while (odd(at)) { at = half(at); last = half(last); }
  let before = path[0], after = path[0];
  for (const sibling of path.slice(1)) {
    if (last === 0) return false;
    if (odd(at) || at === last) {
      before = await nodeHash(sibling, before);
      after = await nodeHash(sibling, after);
      while (!odd(at) && at) { at = half(at); last = half(last); }
    } else after = await nodeHash(after, sibling);
    at = half(at); last = half(last);
  }
  return last === 0 && equal(before, oldRoot) && equal(after, root);
}

// -- keys and notes

const keyId = async (name, kind, key) => (await sha256(utf8.encode(name), [10, kind], key)).slice(0, 4);

/** Return the key that a vkey line says: {name, kind, key, id, vkey}. */
export async function parseVkey(text) {
  const line = text.trim(), first = line.indexOf("+"), second = line.indexOf("+", first + 1);
  if (first < 1 || second < 0) throw malformed("a key is written name+id+base64");
  const name = line.slice(0, first), said = line.slice(first + 1, second), bytes = unb64(line.slice(second + 1));
  if (/[\s+]/.test(name) || bytes.length !== 33 || ![ED25519, COSIGNATURE].includes(bytes[0]))
    throw malformed("a key is neither Ed25519 nor an Ed25519 cosigner's");
  return named(name, bytes[0], bytes.slice(1), said);
}
async function named(name, kind, key, said) {
  const id = await keyId(name, kind, key);
  if (said !== undefined && hex(id) !== said) throw malformed("a key's id is not that of its name and bytes");
  return { name, kind, key, id, vkey: `${name}+${hex(id)}+${b64([kind, ...key])}` };
}

/** Return what a person pasted, a key or a whole C2SP policy: {logs, witnesses, groups, quorum}. */
export async function parseTrust(text) {
  const found = { logs: [], witnesses: new Map(), groups: new Map(), quorum: "none" };
  for (const line of text.split("\n")) {
    const words = line.split("#")[0].trim().split(/\s+/);
    if (words[0] === "") continue;
    if (words.length === 1) found.logs.push(await parseVkey(words[0]));
    else if (words[0] === "log") found.logs.push(await parseVkey(words[1]));
    else if (words[0] === "witness" && words[2]) found.witnesses.set(words[1], await parseVkey(words[2]));
    else if (words[0] === "group" && words[3]) {
      const members = words.slice(3), needed = { any: 1, all: members.length }[words[2]] ?? number(words[2], "a group needs a number");
      if (!members.every((m) => found.witnesses.has(m) || found.groups.has(m))) throw malformed("a group names somebody who is not known");
      found.groups.set(words[1], { needed, members });
    } else if (words[0] === "quorum" && words[1]) found.quorum = words[1];
    else throw malformed("this is neither a key nor a policy: " + line.slice(0, 40));
  }
  if (!found.logs.length) throw malformed("there is no log's key in this");
  if (found.quorum !== "none" && !found.witnesses.has(found.quorum) && !found.groups.has(found.quorum)) throw malformed("the quorum is neither witness nor group");
  return found;
}

/** Return the key for a tree. A key given for the log of heads is good for the trees below the same name. */
export async function keyFor(trust, origin) {
  const own = trust.logs.find((k) => k.name === origin);
  if (own) return own;
  const heads = trust.logs.find((k) => k.name.endsWith("/heads") && origin.startsWith(k.name.slice(0, -"heads".length)));
  if (heads) return named(origin, ED25519, heads.key);
  throw new Detected("UNKNOWN_KEY", "none of the keys that you trust is this log's: " + origin, "Compare the key with the one that you were given by another way.");
}

/** Refuse a log of heads that is not named among what is trusted: under a fresh name nothing would be remembered. */
function demandHeads(trust, origin) {
  if (!trust.logs.some((k) => k.name === origin))
    throw new Detected("WRONG_ORIGIN", "this log of heads is not one that you trust: " + origin, "Keep the evidence: the key may have signed a second history under another name.");
}

export function parseNote(text) {
  const cut = text.lastIndexOf("\n\n");
  if (text.length > NOTE_MAX || cut < 0 || !text.endsWith("\n") || /[\u0000-\u0009\u000b-\u001f\u007f]/.test(text)) throw malformed("a note has no signature, or holds what no note holds");
  const body = text.slice(0, cut + 1), lines = text.slice(cut + 2, -1).split("\n");
  if (lines.length > SIGNATURES_MAX) throw malformed("a note has too many signatures");
  const signatures = lines.map((line) => {
    const found = /^\u2014 (\S+) (\S+)$/.exec(line), blob = found && unb64(found[2]);
    if (!found || blob.length < 5) throw malformed("a signature line cannot be read");
    return { name: found[1], id: blob.slice(0, 4), blob: blob.slice(4) };
  });
  return { body, signatures };
}

export function parseCheckpoint(body) {
  const lines = body.split("\n");
  if (lines.length < 4 || lines.at(-1) || !lines[0]) throw malformed("a checkpoint has fewer than three lines");
  const root = unb64(lines[2]);
  if (root.length !== 32) throw malformed("a checkpoint's root has not 32 bytes");
  return { origin: lines[0], size: number(lines[1], "a checkpoint's size is not a number"), root };
}

async function holds(key, body, blob) {
  let signed = utf8.encode(body), signature = blob;
  if (key.kind === COSIGNATURE) {
    if (blob.length !== 72) return false;
    const seconds = new DataView(blob.buffer, blob.byteOffset, 8).getBigUint64(0);
    signed = utf8.encode(`cosignature/v1\ntime ${seconds}\n${body}`);
    signature = blob.slice(8);
  }
  let imported;
  try { imported = await crypto.subtle.importKey("raw", key.key, { name: "Ed25519" }, false, ["verify"]); }
  catch { throw new Incapable("This browser cannot verify Ed25519 signatures. Take a newer one (Chrome 137, Firefox 130, Safari 17), or verify without it: usance audit prove, or an audit pack."); }
  return crypto.subtle.verify({ name: "Ed25519" }, imported, signature, signed);
}

/** Return a head that its log's key signed, with the cosigners that are known: {head, cosigners}. */
export async function openCheckpoint(text, log, witnesses = []) {
  const note = parseNote(text), head = parseCheckpoint(note.body);
  if (head.origin !== log.name) throw new Detected("WRONG_ORIGIN", `this is a head of ${head.origin}, not of ${log.name}`);
  let signed = false;
  const cosigners = new Map();
  for (const one of note.signatures) {
    const key = [log, ...witnesses].find((k) => k.name === one.name && equal(k.id, one.id));
    if (!key) continue;
    if (!(await holds(key, note.body, one.blob))) throw new Detected("BAD_SIGNATURE", `the signature of ${one.name} does not hold`);
    if (key === log) signed = true;
    else cosigners.set(key.vkey, Number(new DataView(one.blob.buffer, one.blob.byteOffset, 8).getBigUint64(0)));
  }
  if (!signed) throw new Detected("UNKNOWN_KEY", `the key that you trust did not sign this head of ${log.name}`, "Compare the key with the one that you were given by another way.");
  return { head, cosigners };
}

/** Tell whether the cosigners make the quorum of what is trusted. */
export function quorum(trust, cosigners, name = trust.quorum) {
  if (name === "none") return true;
  const group = trust.groups.get(name);
  if (!group) return cosigners.has(trust.witnesses.get(name)?.vkey);
  return group.members.filter((m) => quorum(trust, cosigners, m)).length >= group.needed;
}

// -- proofs

export function parseProof(text) {
  const cut = text.indexOf("\n\n"), lines = text.slice(0, Math.max(cut, 0)).split("\n");
  if (cut < 0 || lines.shift() !== "c2sp.org/tlog-proof@v1") throw malformed("a proof does not begin as one");
  if (lines[0]?.startsWith("extra ")) lines.shift();
  const at = /^index (\S+)$/.exec(lines.shift() ?? "");
  if (!at || lines.length > HASHES_MAX) throw malformed("a proof has no index, or more hashes than any tree needs");
  return { index: number(at[1], "a proof has no index"), hashes: lines.map(unb64), checkpoint: text.slice(cut + 2) };
}

export async function demandInclusion(entry, proof, head) {
  if (!(await verifyInclusion(await leafHash(entry), proof.index, head.size, proof.hashes, head.root)))
    throw new Detected("PROOF_INVALID", `the proof does not show this entry at index ${proof.index} of ${head.origin}`);
}

/** Hold a head against the one that was remembered: it must be the same, or extend it. */
export async function demandExtends(head, remembered, proof) {
  if (!remembered) return;
  const root = unb64(remembered.root);
  if (head.size < remembered.size)
    throw new Detected("ROLLBACK", `you have seen ${remembered.size.toLocaleString("en")} leaves of ${head.origin}; now there are ${head.size.toLocaleString("en")}`, "Keep this page and the head that you remember: an older state was put in place.");
  if (!(await verifyConsistency(remembered.size, head.size, root, head.root, proof.map(unb64))))
    throw new Detected("FORK", `this head of ${head.origin} does not extend the one that you have seen`, "Keep both heads: with their signatures they show two histories.");
}

/** Return what a leaf of 62 bytes says. */
export function unpackLeaf(entry) {
  if (entry.length !== LEAF_BYTES || String.fromCharCode(...entry.slice(0, 4)) !== MAGIC) throw malformed("an entry is not a leaf of this format");
  const view = new DataView(entry.buffer, entry.byteOffset, LEAF_BYTES);
  if (view.getUint8(25)) throw malformed("a leaf has flags that this version does not know");
  return { partition: view.getUint32(4), offset: view.getBigUint64(8), time: Number(view.getBigUint64(16)), kind: view.getUint8(24), schema: view.getUint32(26), envelope: entry.slice(30) };
}

/** Return the parts of the stored bytes by name: seven headers, key, value; null for one that is absent. */
export function unpackEnvelope(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), found = {};
  let at = 0;
  for (const name of NAMES) {
    if (at + 4 > bytes.length) throw malformed("the stored bytes are cut");
    const length = view.getUint32(at);
    at += 4;
    if (length === 0xffffffff) { found[name] = null; continue; }
    if (at + length > bytes.length) throw malformed("the stored bytes are cut");
    found[name] = bytes.slice(at, at + length);
    at += length;
  }
  if (at !== bytes.length) throw malformed("there is more behind the stored bytes");
  return found;
}
const text = (bytes) => (bytes ? new TextDecoder("utf-8", { fatal: false }).decode(bytes) : "");

// -- the two verifications; `tell(words)` is told each step that holds

/** Verify the newest head of the log of heads; returns {head, cosigners}. */
export async function verifyHeads(answer, trust, remembered, tell) {
  const key = await keyFor(trust, answer.origin);
  demandHeads(trust, answer.origin);
  const opened = await openCheckpoint(answer.checkpoint, key, [...trust.witnesses.values()]);
  tell(`The key signed this head: ${opened.head.size.toLocaleString("en")} heads, root ${b64(opened.head.root)}`);
  demandQuorum(trust, opened, tell);
  await demandExtends(opened.head, remembered, answer.since);
  tellExtends(tell, remembered, "the log of heads");
  return opened;
}

/** Verify one event from its stored bytes up to the log of heads; `asked` is {id, type, stream}. */
export async function verifyEvent(answer, asked, trust, remembered, tell) {
  const stored = unb64(answer.envelope), hash = await sha256(stored), parts = unpackEnvelope(stored);
  const said = { id: text(parts.ce_id), type: text(parts.ce_type), stream: text(parts.ce_subject) };
  const same = { id: said.id === asked.id, type: [said.type, ...said.type.split(".")].includes(asked.type), stream: said.stream === asked.stream };
  for (const name of Object.keys(same))
    if (asked[name] !== undefined && !same[name]) throw new Detected("LEAF_MISMATCH", `the stored bytes are those of another event: their ${name} is ${said[name]}`);
  tell(`${stored.length.toLocaleString("en")} stored bytes of ${said.type}, ${text(parts.ce_time)}: SHA-256 ${hex(hash)}`);
  const entry = unb64(answer.leaf), leaf = unpackLeaf(entry);
  if (!equal(leaf.envelope, hash)) throw new Detected("LEAF_MISMATCH", "the stored bytes are not those that the leaf commits to");
  if (asked.hash !== undefined && asked.hash !== hex(hash)) throw new Detected("LEAF_MISMATCH", "the page names another envelope hash than these bytes have");
  if (leaf.kind !== EVENT || !answer.origin.endsWith("/p" + String(leaf.partition).padStart(3, "0"))) throw new Detected("LEAF_MISMATCH", "the leaf is of another partition, or of no event");
  tell(`Its leaf of 62 bytes commits to that hash, to partition ${leaf.partition}, and to ${new Date(leaf.time).toISOString()}`);
  const proof = parseProof(answer.proof), key = await keyFor(trust, answer.origin);
  const tree = await openCheckpoint(proof.checkpoint, key);
  await demandInclusion(entry, proof, tree.head);
  tell(`Leaf ${proof.index.toLocaleString("en")} of ${tree.head.size.toLocaleString("en")}: ${proof.hashes.length} hashes lead to the root that the key signed for ${answer.folder}`);
  const up = parseProof(answer.head_proof), headsKey = await keyFor(trust, answer.heads);
  demandHeads(trust, answer.heads);
  const heads = await openCheckpoint(up.checkpoint, headsKey, [...trust.witnesses.values()]);
  if (answer.entry !== proof.checkpoint) throw new Detected("PROOF_INVALID", "the head in the log of heads is not the one that the event is proven by");
  await demandInclusion(utf8.encode(answer.entry), up, heads.head);
  tell(`That head is entry ${up.index.toLocaleString("en")} of ${heads.head.size.toLocaleString("en")} in the log of heads, which the key signed too`);
  demandQuorum(trust, heads, tell);
  await demandExtends(tree.head, remembered[answer.origin], answer.since_tree);
  await demandExtends(heads.head, remembered[answer.heads], answer.since_heads);
  tellExtends(tell, remembered[answer.heads], "the log of heads");
  return { tree: tree.head, heads: heads.head };
}

function demandQuorum(trust, opened, tell) {
  if (!quorum(trust, opened.cosigners)) throw new Detected("WITNESS_REFUSED", `${opened.cosigners.size} of the witnesses that you trust cosigned this head: not enough`, "Ask the witnesses which head they saw last.");
  const times = [...opened.cosigners.values()];
  if (times.length) tell(`${times.length} witness${times.length > 1 ? "es" : ""} cosigned it, the first at ${new Date(Math.min(...times) * 1000).toISOString()}`);
}
function tellExtends(tell, remembered, what) {
  if (remembered) tell(`It extends the head that you saw ${new Date(remembered.at).toISOString().slice(0, 16)}Z: ${what} had ${remembered.size.toLocaleString("en")} entries then`);
  else tell("You have seen no head of this log before: this one is remembered, and every later one must extend it");
}
