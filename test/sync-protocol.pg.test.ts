import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  canonicalJson,
  Chunker,
  ChunkIndex,
  contentDigest,
  databaseFingerprint,
  decodeDeltaHeader,
  decodeSegments,
  DELTA_HEADER_BYTES,
  ERROR_KINDS,
  hasRows,
  keyThumbprint,
  liveHead,
  type Manifest,
  manifestSha256,
  type ManifestSignature,
  readLiveHead,
  SEGMENT_ENTRY_BYTES,
  sha256,
  sha256Hex,
  type SignedTrust,
  signManifest,
  signTrust,
  tableSha256,
} from '@waypost/contracts';
import { decompress, queryOn, withClient, withTransaction } from '@waypost/runtime';
import { rotateTrust } from '../apps/central-api/src/trust/rotate-trust.js';
import { type Central, startCentral } from '../apps/central-api/testing/central.js';
import { runSql } from '../apps/central-api/testing/sql.js';
import { Gateway } from './support/gateway.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { testPool } from './support/test-pool.js';

// Keeps docs/sync-protocol.md true: its examples are sent to a running central, its vectors are recomputed, and a client that was written from
// it alone runs whole syncs.

const ROOT = join(import.meta.dirname, '..');
const page = await readFile(join(ROOT, 'docs', 'sync-protocol.md'), 'utf8');

/** The contents of the page's fenced blocks of one kind, such as "http example". */
function blocks(info: string): string[] {
  return [...page.matchAll(/^```(.+)\n([^]*?)^```$/gm)].filter(([, found]) => found === info).map(([, , text]) => text as string);
}

let server: TestServer;
let databaseUrl: string;
let central: Central;

beforeAll(async () => {
  server = await startTestServer();
  databaseUrl = (await server.createDatabase('example')).url;
  await runSql(databaseUrl, blocks('sql example').join('\n'));
  central = await startCentral({ databaseUrl, plan: blocks('yaml example').join('\n') });
});

afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

/** Splits a message into its first line, its headers and its body. */
function readMessage(text: string): { first: string; headers: [string, string][]; body: string } {
  const [head, ...rest] = text.split('\n\n');
  const [first, ...lines] = (head as string).trim().split('\n');
  const headers = lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)] as [string, string]);
  return { first: first as string, headers, body: rest.join('\n\n').trim() };
}

const known = new Map<string, string>();
const fill = (text: string): string => text.replace(/<(\w+)>/g, (_, name: string) => known.get(name) ?? `<${name}>`);

/** Compares what came with the page; `…` stands for anything, `<name>` for a value that stays the same from then on. */
function compare(expected: unknown, actual: unknown, at: string): void {
  if (expected === '…') return expect({ at, isThere: actual !== undefined && actual !== null }).toEqual({ at, isThere: true });
  const name = /^<(\w+)>$/.exec(String(expected))?.[1];
  if (name !== undefined) {
    const value = String(actual);
    if (!known.has(name)) known.set(name, value);
    return expect({ at, value }).toEqual({ at, value: known.get(name) });
  }
  if (typeof expected !== 'object' || expected === null) return expect({ at, value: actual }).toEqual({ at, value: expected });
  expect({ at, members: Object.keys(actual as object).sort() }).toEqual({ at, members: Object.keys(expected).sort() });
  for (const [member, value] of Object.entries(expected)) compare(value, (actual as Record<string, unknown>)[member], `${at}.${member}`);
}

/** JSON of the page: bare placeholders become texts. */
const parse = (text: string): unknown => JSON.parse(text.replaceAll(/(?<!")<\w+>(?!")/g, '"$&"').replaceAll(/(?<=[:[] ?)…/g, '"…"'));

const examples = blocks('http example').map(readMessage);
const exchanges = examples.flatMap((message, at) =>
  at % 2 === 0 ? [{ request: message, response: examples[at + 1] as typeof message }] : [],
);

test('the page shows exchanges of all routes of a device', () => {
  expect(examples.length).toBe(exchanges.length * 2);
  expect(new Set(exchanges.map(({ request }) => request.first.replace(/\?.*/, '')))).toEqual(
    new Set([
      'POST /api/device-sync/request',
      'POST /api/device-sync/ack',
      'GET /api/device-sync/manifests/<manifestId>',
      'GET /api/device-sync/manifests/<manifestId>/tables/areas/chunks',
      'POST /api/device-sync/manifests/<manifestId>/tables/areas/delta',
    ]),
  );
});

test.each(exchanges.map((exchange, at) => ({ ...exchange, title: `${at + 1}: ${exchange.request.first}` })))(
  'exchange $title is as on the page',
  async ({ request, response }) => {
    const [method, path] = fill(request.first).split(' ') as [string, string];
    const headers = request.headers.map(([name, value]) => [name, fill(value)] as [string, string]);
    const answer = await fetch(central.url + path, { method, headers, ...(request.body ? { body: fill(request.body) } : {}) });
    const text = Buffer.from(await answer.arrayBuffer());
    if (answer.status !== Number(response.first)) throw new Error(`${answer.status}: ${text.toString('utf8')}`);
    for (const [name, value] of response.headers) compare(value, answer.headers.get(name) ?? undefined, name);
    if (response.body === '') return;
    const isLines = answer.headers.get('content-type')?.includes('ndjson');
    const [expected, actual] = [response.body, text.toString('utf8').trim()].map((body) => (isLines ? body.split('\n') : [body]));
    expect(actual?.length).toBe(expected?.length);
    expected?.forEach((body, at) => compare(parse(body), JSON.parse(actual?.[at] as string), `body ${at}`));
  },
);

describe('rules that no example shows', () => {
  const MAC = '02:00:00:00:00:01';
  const areas = (id: string) => `/api/device-sync/manifests/${id}/tables/areas/chunks?mac=${MAC}`;
  const manifestId = () => known.get('manifestId') as string;
  const codeOf = async (answer: Response) => [answer.status, ((await answer.json()) as { code: string }).code];

  test('S9: a range at the end is refused, one of another form gets the whole stream, and so does one of another content', async () => {
    const get = (headers: Record<string, string>) => fetch(central.url + areas(manifestId()), { headers });
    const bytes = Number(known.get('areasBytes'));
    const refused = await get({ range: `bytes=${bytes}-` });
    expect(refused.headers.get('content-range')).toBe(`bytes */${bytes}`);
    expect(await codeOf(refused)).toEqual([416, 'RANGE_INVALID']);
    for (const headers of [{ range: 'bytes=0-9' }, { range: 'bytes=-9' }, { range: 'bytes=9-', 'if-range': '"other"' }]) {
      const answer = await get(headers);
      expect([answer.status, (await answer.arrayBuffer()).byteLength]).toEqual([200, bytes]);
    }
  });

  test('S11: HEAD has no body, If-None-Match with the ETag gets 304', async () => {
    const head = await fetch(central.url + areas(manifestId()), { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length')]).toEqual([200, known.get('areasBytes')]);
    const got = await fetch(central.url + areas(manifestId()), { headers: { 'if-none-match': known.get('etag') as string } });
    expect(got.status).toBe(304);
  });

  test('Q1, Q4: a compressed body and a malformed digest are refused, another algorithm is ignored', async () => {
    const post = (headers: Record<string, string>) => central.post('/api/device-sync/request', { mac: MAC }, headers);
    const encoded = await post({ 'content-encoding': 'gzip' });
    expect([encoded.status, encoded.body.code]).toEqual([415, 'MEDIA_TYPE_UNSUPPORTED']);
    const malformed = await post({ 'content-digest': 'sha-256=abc' });
    expect([malformed.status, malformed.body.code]).toEqual([400, 'REQUEST_INVALID']);
    expect((await post({ 'content-digest': 'sha-512=:AAAA:' })).status).toBe(200);
  });

  test('L1: q=0 refuses the live stream', async () => {
    const accept = 'application/vnd.waypost.live;q=0, application/json';
    const { headers } = await central.post('/api/device-sync/request', { mac: '02:00:00:00:00:02' }, { accept });
    expect(headers.get('content-type')).toMatch(/json/);
  });

  test('Q3, Q6: ULIDs are upper case, `have` is whole', async () => {
    const lower = manifestId().toLowerCase();
    expect(await codeOf(await fetch(central.url + areas(lower)))).toEqual([404, 'MANIFEST_UNKNOWN']);
    for (const have of [
      { epoch: 'e', sequence: 1, manifestId: lower },
      { epoch: 'e', sequence: 1 },
    ]) {
      const { status, body } = await central.post('/api/device-sync/request', { mac: MAC, have });
      expect([status, body.code]).toEqual([400, 'REQUEST_INVALID']);
    }
  });

  test('A1, A2: a success names each table, a failure with an error need not', async () => {
    const ack = { manifestId: manifestId(), mac: MAC, localCounts: {}, localChecksums: {}, durationMs: 1 };
    const { body: success } = await central.post<{ reason: string }>('/api/device-sync/ack', { ...ack, status: 'Success' });
    expect(success.reason).toMatch(/areas: no rows instead of 3/);
    const { body: failure } = await central.post<{ reason: string }>('/api/device-sync/ack', { ...ack, status: 'Failed', error: 'x' });
    expect(failure.reason).toBe('x');
  });
});

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
interface Vector {
  kind: string;
  [member: string]: unknown;
}
const vectors = blocks('json vector').map((text) => JSON.parse(text) as Vector);

/** The page's own client, whose functions share nothing with the project's. */
const client = (await import(join(ROOT, 'test', 'independent-client.mjs'))) as {
  keyHash: (fields: Buffer[]) => number;
  cutChunks: (rows: Buffer, format: string, keyFields: number[]) => Buffer[];
  tableHash: (digests: Buffer[]) => string;
  canonicalJson: (value: unknown) => string;
  manifestHash: (manifest: object) => string;
  readIndex: (stream: Buffer) => { entries: { digest: Buffer; rawBytes: number; frameBytes: number }[]; length: number };
  openChunk: (frame: Buffer, entry: object) => Buffer;
};

const COPY_HEADER = hex('5047434f50590aff0d0a00 00000000 00000000');

const CHECKS: Record<string, (vector: never) => void> = {
  table: ({ format, keyFields, rows, chunks, sha256: expected }: TableVector) => {
    const bytes = hex(rows);
    const copy = format === 'binary' ? Buffer.concat([COPY_HEADER, bytes, hex('ffff')]) : bytes;
    const cut: Buffer[] = [];
    const counts: number[] = [];
    const chunker = new Chunker({ format, fieldCount: 2, keyFields }, (chunk, rowCount) => {
      cut.push(Buffer.from(chunk));
      counts.push(rowCount);
    });
    chunker.push(copy);
    chunker.end();
    const described = cut.map((chunk, at) => ({ rows: counts[at], rawBytes: chunk.length, sha256: sha256(chunk).toString('hex') }));
    expect(described).toEqual(chunks);
    expect(tableSha256(cut.map(sha256))).toBe(expected);
    const own = client.cutChunks(bytes, format, keyFields);
    expect(own.map((chunk) => sha256(chunk).toString('hex'))).toEqual(chunks.map(({ sha256 }) => sha256));
    expect(client.tableHash(own.map((chunk) => sha256(chunk)))).toBe(expected);
  },
  manifest: ({ manifest, canonical, sha256: expected }: { manifest: Manifest; canonical: string; sha256: string }) => {
    expect([canonicalJson(manifest), client.canonicalJson(manifest)]).toEqual([canonical, canonical]);
    expect([manifestSha256(manifest), client.manifestHash(manifest)]).toEqual([expected, expected]);
  },
  json: ({ value, sha256: expected }: { value: object; sha256: string }) => {
    expect([sha256Hex(canonicalJson(value)), sha256Hex(client.canonicalJson(value))]).toEqual([expected, expected]);
  },
  stream: ({ stream, etag, tableSha256: expected }: { stream: string; etag: string; tableSha256: string }) => {
    const bytes = hex(stream);
    const index = client.readIndex(bytes);
    expect(ChunkIndex.decode(bytes.subarray(0, index.length)).totals().sha256).toBe(expected);
    expect(`"${sha256(bytes.subarray(0, index.length)).toString('hex')}"`).toBe(etag);
    let at = index.length;
    for (const entry of index.entries) {
      expect(sha256(client.openChunk(bytes.subarray(at, at + entry.frameBytes), entry))).toEqual(Buffer.from(entry.digest));
      at += entry.frameBytes;
    }
    expect(at).toBe(bytes.length);
  },
  delta: ({ delta, list, keys, oldRows, newRows }: Record<'delta' | 'list' | 'keys' | 'oldRows' | 'newRows', string>) => {
    const bytes = hex(delta);
    const { segmentCount, listBytes, ...table } = decodeDeltaHeader(bytes);
    let at = DELTA_HEADER_BYTES;
    const take = (length: number): Buffer => bytes.subarray(at, (at += length));
    const restored = decompress(take(listBytes), segmentCount * SEGMENT_ENTRY_BYTES);
    expect(restored).toEqual(hex(list));
    const [segment, ...others] = decodeSegments(restored, segmentCount);
    expect([others.length, hasRows(segment!)]).toEqual([0, true]);
    const { keysBytes, keysFrameBytes, rawBytes, frameBytes, check, oldCheck } = segment!;
    expect(decompress(take(keysFrameBytes), keysBytes)).toEqual(hex(keys));
    expect(decompress(take(frameBytes), rawBytes, hex(oldRows))).toEqual(hex(newRows));
    expect(at).toBe(bytes.length);
    expect([sha256(hex(newRows)), sha256(hex(oldRows))].map((digest) => digest.subarray(0, 8))).toEqual([check, oldCheck]);
    const [row8, row11] = [hex(newRows).subarray(0, 20), hex(newRows).subarray(20)];
    const row9 = hex('0002 00000008 0000000000000009 ffffffff');
    const chunks = client.cutChunks(Buffer.concat([row8, row9, row11]), 'binary', [0]);
    expect(client.tableHash(chunks.map((chunk) => sha256(chunk)))).toBe(table.sha256);
  },
  live: ({ records }: { records: { type: string; length: number; head: string }[] }) => {
    for (const { type, length, head } of records) {
      const read = readLiveHead(hex(head));
      expect([read.length, hex(head).toString('latin1', 0, 1)]).toEqual([length, type]);
      expect(liveHead(read.type, length)).toEqual(hex(head));
    }
  },
  'content-digest': ({ body, header }: { body: string; header: string }) => expect(contentDigest(body)).toBe(header),
  database: ({ identity, sha256: expected }: { identity: string; sha256: string }) => expect(databaseFingerprint(identity)).toBe(expected),
};

interface TableVector {
  format: 'binary' | 'text';
  keyFields: number[];
  rows: string;
  chunks: { rows: number; rawBytes: number; sha256: string }[];
  sha256: string;
}

test('the page has vectors of every format', () => {
  expect(new Set(vectors.map(({ kind }) => kind))).toEqual(new Set(Object.keys(CHECKS)));
});

test.each(vectors.map((vector, at) => ({ vector, title: `${at + 1}, ${vector.kind},` })))('vector $title is right', ({ vector }) => {
  CHECKS[vector.kind]?.(vector as never);
});

test('key hashes are right', () => {
  const rows = [...page.matchAll(/^\| (?:binary|text) \| (`[0-9a-f `,]+`) \| `([0-9a-f]{8})` \|$/gm)];
  expect(rows.length).toBeGreaterThan(5);
  for (const [, fields, expected] of rows) {
    const hash = client.keyHash((fields as string).replaceAll('`', '').split(',').map(hex));
    expect(hash.toString(16).padStart(8, '0')).toBe(expected);
  }
});

test('the page has each code that central answers with its status', () => {
  const rows = [...page.matchAll(/^\| ((?:`[A-Z_]+`(?:, )?)+) \| ([\d, ]+) \|/gm)];
  const listed = rows.flatMap(([, codes, statuses]) => {
    const each = (statuses as string).split(', ').map(Number);
    return [...(codes as string).matchAll(/`(\w+)`/g)].map(([, code], at) => [code, each[at] ?? each[0]]);
  });
  expect(listed.length).toBeGreaterThan(25);
  expect(listed).toEqual(listed.map(([code]) => [code, ERROR_KINDS[code as keyof typeof ERROR_KINDS]?.status]));
});

interface Done {
  outcome: string;
  tables: Record<string, { rowCount: number; sha256: string }>;
  downloads: Record<string, number[]>;
  ack?: { result: string; duplicate: boolean; receipt?: string };
}

describe('a client that was written from the page', () => {
  /** Runs the client's own process. */
  async function runClient(edgeUrl: string, stateFile: string, env: Record<string, string> = {}, centralUrl = central.url): Promise<Done> {
    const script = join(ROOT, 'test', 'independent-client.mjs');
    const args = [script, centralUrl, '02:00:00:00:00:01', edgeUrl, '3', stateFile];
    const { stdout } = await promisify(execFile)(process.execPath, args, { env: { ...process.env, ...env } });
    return JSON.parse(stdout) as Done;
  }

  test('imports nothing of the project', async () => {
    const text = await readFile(join(ROOT, 'test', 'independent-client.mjs'), 'utf8');
    const imported = [...text.matchAll(/(?:from|import\() *'([^']+)'/g)].map(([, name]) => name as string);
    expect(imported.filter((name) => !name.startsWith('node:') && name !== 'pg')).toEqual([]);
    expect(imported.length).toBeGreaterThan(3);
  });

  test('syncs, resumes a broken download, proves its tables, acknowledges, and is told that nothing changed', async () => {
    await using edge = await server.createDatabase('device');
    await using folder = await temporaryFolder();
    const state = join(folder.path, 'state.json');

    const first = await runClient(edge.url, state, { BREAK_AFTER: '100' });
    expect(first).toMatchObject({ outcome: 'loaded', ack: { result: 'Success', receipt: expect.any(String) as string } });
    expect(Object.values(first.tables).map(({ rowCount }) => rowCount)).toEqual([3, 2]);
    expect(await runSql(edge.url, 'SELECT id, name FROM areas ORDER BY id')).toEqual([
      { id: '8', name: 'hi' },
      { id: '9', name: null },
      { id: '10', name: 'ä!' },
    ]);

    expect(await runClient(edge.url, state)).toMatchObject({ outcome: 'unchanged', downloads: {} });

    await central.sql(
      `UPDATE areas SET name = repeat(md5(id::text), 5000) WHERE id = 8; INSERT INTO areas SELECT i, 1, md5(i::text) FROM generate_series(101, 20000) AS i`,
    );
    const third = await runClient(edge.url, state, { BREAK_AFTER: '70000' });
    expect(third).toMatchObject({ outcome: 'loaded', downloads: { areas: [200, 206] }, ack: { result: 'Success', duplicate: false } });
    const [stored] = await central.sql<{ result: string }>('SELECT result FROM waypost.sync_acknowledgements ORDER BY id DESC LIMIT 1');
    expect(stored).toEqual({ result: 'Success' });
    expect(Object.keys(third.downloads)).toEqual(['areas']);
    const [count] = await runSql(edge.url, 'SELECT count(*)::int AS rows FROM areas');
    expect(count).toEqual({ rows: 19_903 });
  });

  interface Signed {
    manifest: Manifest;
    signature: ManifestSignature;
  }

  test.each<[string, RegExp, (answer: Signed) => object]>([
    ['no signature', /has no signature/, ({ manifest }) => ({ manifest })],
    [
      'the signature of another manifest',
      /signature of the manifest is false/,
      ({ manifest, signature }) => {
        const changed = { ...manifest, expiresAt: '2999-01-01T00:00:00.000Z' };
        return { manifest: { ...changed, sha256: manifestSha256(changed) }, signature };
      },
    ],
    [
      'a signature of a key that no trust document names',
      /does not name/,
      ({ manifest, signature: { issuedAt, trust } }) => {
        const { privateKey } = generateKeyPairSync('ed25519');
        const kid = keyThumbprint(privateKey.export({ format: 'jwk' }).x as string);
        return { manifest, signature: signManifest({ kid, privateKey }, { fleet: 'any', issuedAt, trust, sha256: manifest.sha256 }) };
      },
    ],
    [
      'a trust document of a later version that central does not have',
      /TRUST_UNKNOWN/,
      ({ manifest, signature }) => ({ manifest, signature: { ...signature, trust: 9 } }),
    ],
  ])('loads nothing of an answer with %s', async (_, error, alter) => {
    await using edge = await server.createDatabase('forged');
    await using folder = await temporaryFolder();
    await using gateway = await Gateway.start(central.url);
    gateway.after = (exchange) =>
      exchange.path === '/api/device-sync/request'
        ? { ...exchange, body: Buffer.from(JSON.stringify(alter(JSON.parse(exchange.body.toString()) as Signed))) }
        : exchange;
    await expect(runClient(edge.url, join(folder.path, 'state.json'), {}, gateway.url)).rejects.toThrow(error);
    expect(await runSql(edge.url, `SELECT FROM pg_tables WHERE schemaname = 'public'`)).toEqual([]);
  });

  test('follows trust documents over two rotations, one of the root key, and none that a stranger made', async () => {
    await using edge = await server.createDatabase('rotated');
    await using folder = await temporaryFolder();
    const state = join(folder.path, 'state.json');
    const version = async (): Promise<number> =>
      (JSON.parse(await readFile(state, 'utf8')) as { trust: { document: { version: number } } }).trust.document.version;
    await runClient(edge.url, state);
    expect(await version()).toBe(1);
    const pool = testPool(databaseUrl);
    for (const root of [false, true])
      await withClient(pool, (client) =>
        withTransaction(client, 'READ WRITE', () => rotateTrust(queryOn(client), { by: 'test', lifeMs: 86_400_000, root })),
      );
    await pool.end();
    // A replica signs with the new key at once.
    await using replica = await startCentral({ databaseUrl, plan: blocks('yaml example').join('\n') });
    await using gateway = await Gateway.start(replica.url);
    gateway.after = async (exchange) => {
      if (!exchange.path.startsWith('/api/device-sync/trust/2')) return exchange;
      const { document } = JSON.parse(exchange.body.toString()) as SignedTrust;
      const { privateKey } = generateKeyPairSync('ed25519');
      const x = privateKey.export({ format: 'jwk' }).x as string;
      const root = { kid: keyThumbprint(x), privateKey };
      const forged = signTrust({ ...document, rootKeys: [{ kid: root.kid, x }] }, [root]);
      return { ...exchange, body: Buffer.from(JSON.stringify(forged)) };
    };
    await expect(runClient(edge.url, state, {}, gateway.url)).rejects.toThrow(/no root key of the document before/);
    expect(await version()).toBe(1);
    gateway.heal();
    expect(await runClient(edge.url, state, {}, gateway.url)).toMatchObject({ downloads: {} });
    expect(await version()).toBe(3);
  });

  test('commits nothing where its database holds something else than the manifest says', async () => {
    await using edge = await server.createDatabase('meddling');
    await using folder = await temporaryFolder();
    await runSql(
      edge.url,
      `CREATE TABLE areas (id bigint PRIMARY KEY, name text);
       CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'other'; RETURN NEW; END $$;
       CREATE TRIGGER meddle BEFORE INSERT ON areas FOR EACH ROW EXECUTE FUNCTION meddle()`,
    );
    await expect(runClient(edge.url, join(folder.path, 'state.json'))).rejects.toThrow(/holds something else than the manifest says/);
    expect(await runSql(edge.url, 'SELECT FROM areas')).toEqual([]);
  });
});
