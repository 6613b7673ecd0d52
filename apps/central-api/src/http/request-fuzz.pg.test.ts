import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { problemSchema, type Manifest } from '@waypost/contracts';
import fc from 'fast-check';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { type OwnCentral, startOwnCentral } from '../../testing/own-central.js';
import { successOf } from '../../testing/messages.js';
import { SHOP_2 } from '../../testing/shop.js';

/** Requests and acks that no edge sends. */

const SEED = 20_261_121;
const RUNS = { requests: 300, acks: 500, raw: 200 };
const MAX_GROWTH_BYTES = 256 << 20;
const REQUEST = '/api/device-sync/request';
const ACK = '/api/device-sync/ack';

let server: TestServer;
let central: OwnCentral;
let manifest: Manifest;

beforeAll(async () => {
  server = await startTestServer();
  central = await startOwnCentral({ server });
  manifest = await central.manifestFor(SHOP_2);
});
afterAll(async () => {
  await central?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  expect(await central.sql(`SELECT * FROM waypost.sync_requests WHERE reason = 'INTERNAL'`)).toEqual([]);
  expect((await central.manifestFor(SHOP_2)).manifestId).toBe(manifest.manifestId);
});

const junk = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<unknown>(
      null,
      true,
      0,
      -1,
      1.5,
      2 ** 53,
      1e308,
      '',
      '\0',
      '\ud800',
      [],
      {},
      '__proto__',
      "'; --",
      '9'.repeat(5000),
    ),
  },
  fc.string({ unit: 'binary' }),
  fc.jsonValue({ maxDepth: 4 }),
);
const keys = fc.oneof(
  fc.constantFrom('mac', 'have', 'payload', 'manifestId', 'status', 'localCounts', 'localChecksums', 'durationMs', 'error'),
  fc.string(),
);

/** A good message with some members exchanged, added or left out. */
function broken(good: object) {
  const members = fc.array(fc.tuple(keys, junk), { minLength: 1, maxLength: 4 });
  return fc.tuple(members, fc.subarray(Object.keys(good), { minLength: 1 })).map(([changed, kept]) => {
    const rest = Object.fromEntries(Object.entries(good).filter(([key]) => kept.includes(key)));
    return { ...rest, ...Object.fromEntries(changed) };
  });
}

/** JSON that is cut, or has a byte exchanged. */
const damaged = (message: object) =>
  fc.tuple(fc.nat(), fc.nat(255), fc.boolean()).map(([at, byte, cut]) => {
    const bytes = Buffer.from(JSON.stringify(message));
    const place = at % bytes.length;
    if (cut) return bytes.subarray(0, place).toString('latin1');
    bytes.writeUInt8(byte, place);
    return bytes.toString('latin1');
  });

async function expectTyped(path: string, body: unknown): Promise<boolean> {
  const answer = await central.post(path, body);
  if (answer.status === 200) return true;
  expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  expect(problemSchema.parse(answer.body).status).toBe(answer.status);
  expect(answer.body.code).not.toBe('INTERNAL');
  expect(answer.status).toBeLessThan(500);
  return false;
}

const state = () =>
  central.sql(`SELECT (SELECT count(*) FROM waypost.manifests) AS manifests, (SELECT count(*) FROM waypost.sync_acknowledgements) AS acks`);

async function boundedMemory(work: () => Promise<void>): Promise<void> {
  const before = process.memoryUsage().rss;
  await work();
  expect(process.memoryUsage().rss - before).toBeLessThan(MAX_GROWTH_BYTES);
}

test(`${RUNS.requests} broken requests: typed errors, and no manifest`, async () => {
  const good = { mac: '02:00:00:00:00:99', have: { epoch: manifest.epoch, sequence: 1, manifestId: manifest.manifestId } };
  const before = await state();
  await boundedMemory(() =>
    fc.assert(
      fc.asyncProperty(fc.oneof(broken(good), damaged(good), junk), async (body) => {
        await expectTyped(REQUEST, body);
      }),
      { numRuns: RUNS.requests, seed: SEED },
    ),
  );
  expect(await state()).toEqual(before);
});

test(`${RUNS.acks} broken acks: typed errors, and no success`, async () => {
  const right = successOf(manifest, { durationMs: 1 });
  const good = { ...right, localChecksums: { ...right.localChecksums, [manifest.tables[0]!.name]: 'a'.repeat(64) } };
  await boundedMemory(() =>
    fc.assert(
      fc.asyncProperty(fc.oneof(broken(good), damaged(good), junk), async (body) => {
        await expectTyped(ACK, body);
      }),
      { numRuns: RUNS.acks, seed: SEED },
    ),
  );
  expect(await central.sql(`SELECT * FROM waypost.sync_acknowledgements WHERE result = 'Success'`)).toEqual([]);
});

test(`${RUNS.raw} connections that hardly speak HTTP: a problem or an end`, async () => {
  const good = Buffer.from(
    `POST ${REQUEST} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 12\r\nconnection: close\r\n\r\n{"mac": "x"}`,
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), async (edits) => {
      const bytes = Buffer.from(good);
      for (const [at, byte] of edits) bytes.writeUInt8(byte, at);
      const socket = connect(Number(new URL(central.url).port), '127.0.0.1');
      socket.on('error', () => undefined);
      socket.end(bytes);
      const answer = await text(socket).catch(() => '');
      expect(answer).toMatch(/^(HTTP\/1\.1 4\d\d |$)/);
    }),
    { numRuns: RUNS.raw, seed: SEED },
  );
});
