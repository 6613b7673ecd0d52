// A client of Waypost's sync protocol, written from docs/sync-protocol.md alone. It imports nothing of the project: Node's own modules and `pg`.
// The numbers in the comments are those of the document's rules.
//
//   node test/independent-client.mjs CENTRAL_URL MAC DATABASE_URL SCHEMA_VERSION [STATE_FILE]
//
// Runs one sync and prints what it did as JSON. STATE_FILE keeps what the device holds between two runs. With BREAK_AFTER=n the first download
// breaks off after n bytes, and resumes.

import { createPublicKey, hash, verify } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { zstdDecompressSync } from 'node:zlib';
import pg from 'pg';

const MAX_ROW_BYTES = 67_108_864;
const MAX_CHUNK_BYTES = 68_157_439;
const MAX_TRUST_BYTES = 65_536;

const sha256 = (bytes) => hash('sha256', bytes, 'buffer');
const hex = (bytes) => Buffer.from(bytes).toString('hex');

function check(condition, message) {
  if (!condition) throw new Error(message);
}

// ── Canonical rows, chunks and hashes (sections 1 to 3) ──

/** H4, the RFC 8785 form. */
export function canonicalJson(value) {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name])}`).join(',')}}`;
}

/** H4 */
export function manifestHash({ sha256: _, ...others }) {
  return hex(sha256(canonicalJson(others)));
}

/** H2, H3 */
export function tableHash(digests) {
  return hex(sha256(Buffer.concat(digests)));
}

/** C4 @param fields the bytes of the key's fields, as C5 and C6 say */
export function keyHash(fields) {
  let h = 0x811c9dc5;
  for (const byte of Buffer.concat(fields)) h = Math.imul(h ^ byte, 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** R2 @yields each row with its fields, a field with its four length bytes */
function* binaryRows(bytes) {
  for (let at = 0; at < bytes.length;) {
    const start = at;
    const fields = [];
    const count = bytes.readInt16BE(at);
    at += 2;
    for (let field = 0; field < count; field += 1) {
      const length = bytes.readInt32BE(at);
      const end = at + 4 + Math.max(length, 0);
      fields.push(bytes.subarray(at, end));
      at = end;
    }
    yield { row: bytes.subarray(start, at), fields };
  }
}

/** R3 @yields each row with its fields, a field with a zero byte after it */
function* textRows(bytes) {
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(0x0a, at) + 1;
    const fields = bytes
      .subarray(at, end - 1)
      .toString('latin1')
      .split('\t');
    yield { row: bytes.subarray(at, end), fields: fields.map((field) => Buffer.from(`${field}\0`, 'latin1')) };
    at = end;
  }
}

/** C1 to C3 @param bytes the canonical rows @param keyFields positions of the key's columns */
export function cutChunks(bytes, format, keyFields) {
  const chunks = [];
  let start = 0;
  let end = 0;
  for (const { row, fields } of format === 'text' ? textRows(bytes) : binaryRows(bytes)) {
    check(row.length <= MAX_ROW_BYTES, 'a row is too long');
    end += row.length;
    const key = keyFields.map((field) => fields[field]);
    if ((keyHash(key) & 0xff) === 0 || end - start >= 1_048_576) {
      chunks.push(bytes.subarray(start, end));
      start = end;
    }
  }
  if (end > start) chunks.push(bytes.subarray(start, end));
  return chunks;
}

// ── Trust documents and signatures (section 6.1) ──

/** T1 @param x a public key in base64url */
function isSigned(text, signature, x) {
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  return verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64url'));
}

/** T2 */
function isSignedByRootOf(by, { document, signatures }) {
  const text = `waypost trust v1\n${canonicalJson(document)}`;
  return signatures.some(({ kid, signature }) =>
    by.document.rootKeys.some((root) => root.kid === kid && isSigned(text, signature, root.x)),
  );
}

/** T1, T3 @param before the document that the client believes; undefined for the first one */
export function checkTrust(trust, before) {
  const { version, fleet, rootKeys, keys } = trust.document;
  check(rootKeys.length <= 8 && keys.length <= 32, 'the trust document names too many keys');
  for (const { kid, x } of [...rootKeys, ...keys])
    check(
      sha256(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).toString('base64url') === kid,
      'a key of the trust document has another thumbprint',
    );
  for (const named of [rootKeys, keys]) check(new Set(named.map(({ kid }) => kid)).size === named.length, 'a key is named twice');
  check(isSignedByRootOf(trust, trust), 'no root key of its own signed the trust document');
  if (!before) return;
  check(version === before.document.version + 1 && fleet === before.document.fleet, 'the trust document is no successor');
  check(isSignedByRootOf(before, trust), 'no root key of the document before signed the trust document');
}

/** T4, T6 @param time central's */
export function checkSignature({ document }, manifest, { kid, issuedAt, trust, signature }, time) {
  const key = document.keys.find((one) => one.kid === kid && one.use === 'manifest');
  check(key, 'a key that the trust document does not name signed the manifest');
  const text = ['waypost manifest v1', document.fleet, manifest.sha256, issuedAt, trust].join('\n');
  check(isSigned(text, signature, key.x), 'the signature of the manifest is false');
  const end = Date.parse(key.expiresAt);
  check(Date.parse(issuedAt) < end && time < end, 'the key that signed the manifest has expired');
}

// ── The chunk stream (section 5) ──

/** S1 to S4: the index at the front of a stream, or undefined while it is incomplete. */
export function readIndex(bytes) {
  if (bytes.length < 12) return undefined;
  check(bytes.subarray(0, 4).toString('latin1') === 'WPC1', 'no chunk stream');
  check(bytes[4] <= 1 && bytes.readUIntBE(5, 3) === 0, 'unknown format');
  const count = bytes.readUInt32BE(8);
  if (bytes.length < 12 + 44 * count) return undefined;
  const entries = [];
  for (let at = 12; at < 12 + 44 * count; at += 44) {
    const entry = {
      digest: bytes.subarray(at, at + 32),
      rows: bytes.readUInt32BE(at + 32),
      rawBytes: bytes.readUInt32BE(at + 36),
      frameBytes: bytes.readUInt32BE(at + 40),
    };
    check(entry.rows > 0 && entry.rawBytes > 0 && entry.rawBytes <= MAX_CHUNK_BYTES && entry.frameBytes > 0, 'impossible sizes');
    entries.push(entry);
  }
  return { format: bytes[4] === 1 ? 'text' : 'binary', entries, length: 12 + 44 * count };
}

/** S5: is this the index of that table? */
export function checkIndex(index, table) {
  const sum = (member) => index.entries.reduce((total, entry) => total + entry[member], 0);
  check(index.format === table.format, `${table.name}: another format`);
  check(tableHash(index.entries.map(({ digest }) => digest)) === table.sha256, `${table.name}: the index is not the manifest's`);
  check(sum('rows') === table.rowCount && sum('rawBytes') === table.rawBytes, `${table.name}: the sums differ`);
  check(index.length + sum('frameBytes') === table.streamBytes, `${table.name}: the stream has another length`);
}

/** S6, S7 */
export function openChunk(frame, { digest, rawBytes }) {
  const bytes = zstdDecompressSync(frame, { maxOutputLength: rawBytes });
  check(bytes.length === rawBytes && sha256(bytes).equals(digest), 'a chunk is corrupt');
  return bytes;
}

// ── HTTP (section 6) ──

async function problemOf(response) {
  const problem = await response.json().catch(() => ({}));
  return Object.assign(new Error(`${response.status} ${problem.code}: ${problem.detail ?? problem.title}`), { code: problem.code });
}

async function post(url, message, headers = {}) {
  const body = JSON.stringify(message);
  const digest = `sha-256=:${sha256(body).toString('base64')}:`;
  const all = { 'content-type': 'application/json', 'content-digest': digest, 'accept-encoding': 'identity', ...headers };
  const response = await fetch(url, { method: 'POST', headers: all, body });
  if (!response.ok) throw await problemOf(response);
  return { body: await response.json(), headers: response.headers };
}

/** T3, T5 @returns the trust document that an answer names, followed from the one that is held, or believed at first sight */
async function followTrust(base, mac, version, held) {
  let trust = held;
  while (!trust || trust.document.version < version) {
    const response = await fetch(`${base}/api/device-sync/trust/${trust ? trust.document.version + 1 : version}?mac=${mac}`);
    if (!response.ok) throw await problemOf(response);
    const text = await response.text();
    check(Buffer.byteLength(text) <= MAX_TRUST_BYTES, 'the trust document is too long');
    const received = JSON.parse(text);
    checkTrust(received, trust);
    trust = received;
  }
  return trust;
}

/**
 * T4 to T6, T8: checks who signed an answer. Between two runs no monotonic clock goes on, so that what passed meanwhile does not count.
 * @returns the trust document, the newest signature's key and time, and whether what is held counts for the order
 */
async function checkSigner(base, mac, manifest, { body, headers }, held) {
  const { signature } = body;
  check(signature, 'the answer has no signature');
  const trust = await followTrust(base, mac, signature.trust, held?.trust);
  const isNamed = (kid) => trust.document.keys.some((key) => key.kid === kid);
  const floor = held && isNamed(held.signed.kid) ? held.signed : undefined;
  const time = Math.max(Date.parse(headers.get('date') ?? 0), Date.parse(floor?.issuedAt ?? 0));
  checkSignature(trust, manifest, signature, time);
  const { kid, issuedAt } = signature;
  const signed = floor && Date.parse(floor.issuedAt) > Date.parse(issuedAt) ? floor : { kid, issuedAt };
  return { trust, signed, before: floor && held };
}

/** M3 to M8 */
function checkManifest(manifest, { mac, schemaVersion, held, date }) {
  check(manifestHash(manifest) === manifest.sha256, 'the manifest has another hash than it says');
  check(manifest.device.mac === mac, 'the manifest is for another device');
  check(manifest.schemaVersion === schemaVersion, 'another schema version');
  check(!date || Date.parse(date) < Date.parse(manifest.expiresAt), 'the manifest has expired');
  if (!held) return;
  check(!held.formerEpochs.includes(manifest.epoch), 'an epoch that was replaced');
  if (manifest.epoch !== held.manifest.epoch) return;
  check(manifest.sequence >= held.manifest.sequence, 'an older manifest');
  const isSame = manifest.manifestId === held.manifest.manifestId;
  check(isSame === (manifest.sequence === held.manifest.sequence), 'another manifest of an equal sequence');
  check(!isSame || manifest.sha256 === held.manifest.sha256, 'the same manifest with another hash');
}

/** One request for a chunk stream from `start` on. Breaks off after `breakAfter` bytes. */
async function fetchPart(url, stream, breakAfter) {
  const start = stream.bytes.length;
  const headers = { 'accept-encoding': 'identity', ...(start > 0 ? { range: `bytes=${start}-`, 'if-range': stream.etag } : {}) };
  const response = await fetch(url, { headers });
  if (!response.ok) throw await problemOf(response);
  // S9: a whole answer in place of the part begins at byte 0.
  const from = response.status === 206 ? Number(/^bytes (\d+)-/.exec(response.headers.get('content-range'))[1]) : 0;
  const parts = [stream.bytes.subarray(0, from)];
  stream.etag = response.headers.get('etag');
  let received = 0;
  for await (const part of response.body) {
    parts.push(part);
    received += part.length;
    if (received >= breakAfter) break;
  }
  stream.bytes = Buffer.concat(parts);
  return response.status;
}

/** Sections 5 and 6: a table's chunks, each checked. */
async function download(base, { manifestId, device }, table, breakAfter) {
  const url = `${base}/api/device-sync/manifests/${manifestId}/tables/${encodeURIComponent(table.name)}/chunks?mac=${device.mac}`;
  const stream = { bytes: Buffer.alloc(0), etag: undefined };
  const statuses = [];
  while (stream.bytes.length < table.streamBytes)
    statuses.push(await fetchPart(url, stream, statuses.length === 0 ? breakAfter : Infinity));
  check(stream.bytes.length === table.streamBytes, `${table.name}: the stream is too long`);
  const index = readIndex(stream.bytes);
  check(index, `${table.name}: the index is not whole`);
  checkIndex(index, table);
  const chunks = [];
  let at = index.length;
  for (const entry of index.entries) {
    chunks.push(openChunk(stream.bytes.subarray(at, at + entry.frameBytes), entry));
    at += entry.frameBytes;
  }
  return { rows: Buffer.concat(chunks), statuses };
}

// ── PostgreSQL: load, and read again (sections 1 and 7) ──

const quote = (name) => `"${name.replaceAll('"', '""')}"`;

/** COPY's part of PostgreSQL's wire protocol, by pg's own messages. */
class Copy {
  received = [];
  constructor(text, input) {
    this.text = text;
    this.input = input;
    this.done = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.done.catch(() => undefined);
  }
  submit(connection) {
    connection.query(this.text);
  }
  handleCopyInResponse(connection) {
    for (const part of this.input) connection.sendCopyFromChunk(part);
    connection.endCopyFrom();
  }
  handleCopyData({ chunk }) {
    this.received.push(Buffer.from(chunk));
  }
  handleCommandComplete() {}
  handleError(error) {
    this.reject(error);
  }
  handleReadyForQuery() {
    this.resolve(Buffer.concat(this.received));
  }
}

async function copy(client, text, input) {
  const work = new Copy(text, input);
  client.query(work);
  return work.done;
}

/** R5 */
const PIN = `
  SET LOCAL search_path = pg_catalog, public; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres';
  SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'; SET LOCAL client_encoding = 'UTF8'; SET LOCAL lc_monetary = 'C';
  SET LOCAL xmloption = content; SET LOCAL array_nulls = on; SET LOCAL quote_all_identifiers = off`;

const BINARY_HEADER = Buffer.from('5047434f50590aff0d0a000000000000000000', 'hex');
const BINARY_TRAILER = Buffer.from('ffff', 'hex');

/** R6 to R8, for databases in UTF8. */
const KEY_ORDER = `
  WITH RECURSIVE part AS (
    SELECT to_regtype($1)::oid AS oid
    UNION ALL
    SELECT CASE WHEN t.typbasetype <> 0 THEN t.typbasetype ELSE t.typelem END
    FROM part JOIN pg_type t USING (oid) WHERE t.typbasetype <> 0 OR t.typcategory = 'A'
  )
  SELECT CASE WHEN bool_or(t.typname = 'jsonb' OR t.typname LIKE 'reg%' AND t.typcategory = 'N' OR (t.oid >= 16384 AND t.typtype NOT IN ('e', 'd') AND t.typcategory <> 'A')) THEN 'text'
              WHEN bool_or(t.typcollation <> 0) THEN 'bytes' ELSE 'type' END AS rule
  FROM part JOIN pg_type t USING (oid)`;

async function orderOf(client, table) {
  const terms = [];
  for (const key of table.key) {
    const { rows } = await client.query(KEY_ORDER, [table.columns.find(({ name }) => name === key).type]);
    const column = quote(key);
    terms.push({ text: `CAST(${column} AS text) COLLATE "C"`, bytes: `${column} COLLATE "C"`, type: column }[rows[0].rule]);
  }
  return terms.join(', ');
}

/** M9: what a column's type needs before it. */
async function createType(client, type) {
  const { rows } = await client.query('SELECT to_regtype($1) IS NULL AS missing', [type.name]);
  if (!rows[0].missing) return;
  const literal = (text) => `'${text.replaceAll("'", "''")}'`;
  const definitions = {
    enum: () => `CREATE TYPE ${type.name} AS ENUM (${type.labels.map(literal).join(', ')})`,
    domain: () => `CREATE DOMAIN ${type.name} AS ${type.base}`,
    composite: () => `CREATE TYPE ${type.name} AS (${type.attributes.map((part) => `${quote(part.name)} ${part.type}`).join(', ')})`,
    range: () => `CREATE TYPE ${type.name} AS RANGE (subtype = ${type.subtype}, multirange_type_name = ${type.multirange})`,
    external: () => check(false, `an operator has to run: ${type.statement}`),
  };
  const schema = /^("(?:[^"]|"")*"|[^.]+)\./.exec(type.name)?.[1];
  if (schema) await client.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`);
  await client.query(definitions[type.kind]());
}

/** D4: loads one table and proves it. */
async function loadTable(client, table, canonicalRows) {
  const columns = table.columns.map(({ name, type, notNull }) => `${quote(name)} ${type}${notNull ? ' NOT NULL' : ''}`);
  const schema = /^("(?:[^"]|"")*"|[^."]+)\./.exec(table.name)?.[1];
  const sqlName = schema ? table.name : `public.${table.name}`;
  if (schema) await client.query(`CREATE SCHEMA IF NOT EXISTS ${schema}`);
  await client.query(`CREATE TABLE IF NOT EXISTS ${sqlName} (${columns.join(', ')}, PRIMARY KEY (${table.key.map(quote).join(', ')}))`);
  await client.query(`DELETE FROM ${sqlName}`);
  const names = table.columns.map(({ name }) => quote(name)).join(', ');
  const isBinary = table.format === 'binary';
  const input = isBinary ? [BINARY_HEADER, canonicalRows, BINARY_TRAILER] : [canonicalRows];
  await copy(client, `COPY ${sqlName} (${names}) FROM STDIN (FORMAT ${table.format})`, input);

  const query = `SELECT ${names} FROM ${sqlName} ORDER BY ${await orderOf(client, table)}`;
  const copied = await copy(client, `COPY (${query}) TO STDOUT (FORMAT ${table.format})`);
  const rows = isBinary ? copied.subarray(BINARY_HEADER.length, -BINARY_TRAILER.length) : copied;
  const keyFields = table.key.map((key) => table.columns.findIndex(({ name }) => name === key));
  const chunks = cutChunks(rows, table.format, keyFields);
  check(tableHash(chunks.map(sha256)) === table.sha256, `${table.name}: the database holds something else than the manifest says`);
  const { rowCount } = await client.query({ text: `SELECT FROM ${sqlName}` });
  return { rowCount, sha256: tableHash(chunks.map(sha256)) };
}

async function apply(databaseUrl, manifest, rowsOf) {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await client.query(`BEGIN; ${PIN}`);
    for (const type of manifest.types) await createType(client, type);
    const proven = {};
    for (const table of manifest.tables)
      if (rowsOf.has(table.name)) proven[table.name] = await loadTable(client, table, rowsOf.get(table.name));
    await client.query('COMMIT');
    return proven;
  } finally {
    await client.end();
  }
}

// ── One sync (section 7) ──

/**
 * @param held what the function gave as `held` the last time
 * @returns what was done, and what the device holds now
 */
export async function sync({ centralUrl, mac, databaseUrl, schemaVersion, held, breakAfter = Infinity }) {
  const startedAt = performance.now();
  const have = held && {
    epoch: held.manifest.epoch,
    sequence: held.manifest.sequence,
    manifestId: held.manifest.manifestId,
    ...(held.receipt ? { receipt: held.receipt } : {}),
  };
  const request = (headers) => post(`${centralUrl}/api/device-sync/request`, { mac, ...(have ? { have } : {}) }, headers);
  let answer = await request(held ? { prefer: 'return=minimal' } : {});
  const { unchanged } = answer.body;
  if (unchanged) {
    // Q10
    if (unchanged.manifestId === held.manifest.manifestId && unchanged.sha256 === held.manifest.sha256) {
      const { before, ...known } = await checkSigner(centralUrl, mac, held.manifest, answer, held);
      checkManifest(held.manifest, { mac, schemaVersion, held: before, date: answer.headers.get('date') });
      return { outcome: 'unchanged', tables: {}, downloads: {}, ack: undefined, held: { ...held, ...known } };
    }
    answer = await request();
  }
  const { manifest } = answer.body;
  // T9, after M3: the signature is of the hash.
  check(manifestHash(manifest) === manifest.sha256, 'the manifest has another hash than it says');
  const { before, ...known } = await checkSigner(centralUrl, mac, manifest, answer, held);
  checkManifest(manifest, { mac, schemaVersion, held: before, date: answer.headers.get('date') });

  // D2: what is equal is not downloaded.
  const current = new Map(held?.manifest.tables.map((table) => [table.name, table.sha256]));
  const changed = manifest.tables.filter(({ name, sha256 }) => current.get(name) !== sha256);
  const rowsOf = new Map();
  const downloads = {};
  for (const table of changed) {
    const { rows, statuses } = await download(centralUrl, manifest, table, breakAfter);
    rowsOf.set(table.name, rows);
    downloads[table.name] = statuses;
  }
  const tables = await apply(databaseUrl, manifest, rowsOf);

  const isNew = manifest.manifestId !== held?.manifest.manifestId;
  const of = (member) => Object.fromEntries(manifest.tables.map((table) => [table.name, (tables[table.name] ?? table)[member]]));
  const ack = isNew
    ? await post(`${centralUrl}/api/device-sync/ack`, {
        manifestId: manifest.manifestId,
        mac,
        status: 'Success',
        localCounts: of('rowCount'),
        localChecksums: of('sha256'),
        durationMs: Math.round(performance.now() - startedAt),
        error: null,
      })
    : undefined;
  const formerEpochs = held?.formerEpochs ?? [];
  if (held && held.manifest.epoch !== manifest.epoch) formerEpochs.push(held.manifest.epoch);
  const receipt = ack?.body.receipt ?? (isNew ? undefined : held?.receipt);
  return {
    outcome: changed.length > 0 ? 'loaded' : 'confirmed',
    tables,
    downloads,
    ack: ack?.body,
    held: { manifest, receipt, formerEpochs, ...known },
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [centralUrl, mac, databaseUrl, schemaVersion, stateFile] = process.argv.slice(2);
  const held = stateFile && existsSync(stateFile) ? JSON.parse(readFileSync(stateFile, 'utf8')) : undefined;
  const breakAfter = Number(process.env.BREAK_AFTER ?? Infinity);
  const { held: now, ...done } = await sync({ centralUrl, mac, databaseUrl, schemaVersion: Number(schemaVersion), held, breakAfter });
  if (stateFile) writeFileSync(stateFile, JSON.stringify(now));
  console.log(JSON.stringify(done));
}
