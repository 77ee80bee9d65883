// Solves the challenges of GET /api/v1/auth/proof-of-work (ALTCHA's protocol, version 2). How to use it:
// docs/proof-of-work.md. Browsers have crypto.subtle on https pages and on localhost.

const AT_ONCE = 8;

/** Get a challenge from `url`, solve it, and return the solution as `proof_of_work` takes it. */
export async function solveProofOfWork(url = "/api/v1/auth/proof-of-work") {
  const answer = await fetch(url, { credentials: "include" });
  if (!answer.ok) throw new Error(`no challenge: ${answer.status}`);
  const challenge = await answer.json();
  const solution = await findKey(challenge.parameters);
  return btoa(JSON.stringify({ challenge, solution }));
}

async function findKey(parameters) {
  for (let first = 0; ; first += AT_ONCE) {
    const counters = Array.from({ length: AT_ONCE }, (_, place) => first + place);
    const keys = await Promise.all(counters.map((counter) => deriveKey(parameters, counter)));
    const place = keys.findIndex((key) => key.startsWith(parameters.keyPrefix));
    if (place >= 0) return { counter: counters[place], derivedKey: keys[place] };
  }
}

async function deriveKey({ algorithm, nonce, salt, cost, keyLength }, counter) {
  const password = new Uint8Array([...readHex(nonce), counter >>> 24, counter >>> 16, counter >>> 8, counter]);
  const material = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
  const form = { name: "PBKDF2", hash: algorithm.replace("PBKDF2/", ""), salt: readHex(salt), iterations: cost };
  return writeHex(new Uint8Array(await crypto.subtle.deriveBits(form, material, keyLength * 8)));
}

const readHex = (text) => new Uint8Array(text.match(/../g).map((pair) => parseInt(pair, 16)));
const writeHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
