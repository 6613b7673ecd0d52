import { generateKeyPairSync } from 'node:crypto';
import {
  consistencyProof,
  CHECKPOINT_HEADER,
  type ForkReport,
  formatEntry,
  formatVerifierKey,
  Frontier,
  inclusionProof,
  leafHash,
  type ReadHashes,
  sha256Hex,
  signCheckpoint,
  type SigningKey,
  toProblem,
  verifierKeyOf,
  WaypostError,
} from '@waypost/contracts';
import { pino } from 'pino';
import { DataSource } from 'typeorm';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import type { CentralCircuit } from '../central/central-circuit.js';
import { refusalError } from '../central/central-errors.js';
import { LastCheckpoint } from '../central/last-checkpoint.js';
import type { LedgerClient } from '../central/ledger-client.js';
import { dataSourceOptions } from '../database/data-source.js';
import type { IdentityFiles } from '../identity/identity-files.js';
import type { Metrics } from '../metrics/metrics.js';
import type { OpenCycle } from '../phase/cycle-phase.js';
import type { ManifestTrust } from '../trust/manifest-trust.js';
import { Witness } from './witness.js';

const ORIGIN = 'urn:waypost:fleet:01ARZ3NDEKTSV4RRFFQ69G5FAV';
const makeKey = (): SigningKey => ({ name: ORIGIN, privateKey: generateKeyPairSync('ed25519').privateKey });
const [SIGNER, NEW_SIGNER] = [makeKey(), makeKey()];
const namedBy = (...keys: SigningKey[]) => ({ origin: ORIGIN, keys: keys.map((key) => formatVerifierKey(verifierKeyOf(key))) });

const refusal = (status: number, code: 'LEDGER_NOT_FOUND' | 'STORAGE_FAILED'): WaypostError =>
  refusalError({ status, body: JSON.stringify(toProblem(new WaypostError(code))) });

/** A ledger in memory, which answers as central does. */
class Ledger {
  readonly reports: ForkReport[] = [];
  /** What was asked for beside the polls. */
  readonly asked: string[] = [];
  /** The key that signs from now on. */
  signer = SIGNER;
  /** What it refuses from now on, and how. */
  refuses: Record<string, WaypostError> = {};
  private readonly frontier = Frontier.empty();
  private readonly hashes = new Map<string, Buffer>();
  private readonly entries: string[] = [];

  append(...entries: string[]): this {
    for (const entry of entries) {
      this.entries.push(entry);
      for (const { level, index, hash } of this.frontier.append(leafHash(Buffer.from(entry)))) this.hashes.set(`${level} ${index}`, hash);
    }
    return this;
  }

  note(): string {
    return signCheckpoint({ origin: ORIGIN, size: this.frontier.size, root: this.frontier.root(), extensions: [] }, [this.signer]);
  }

  get client(): LedgerClient {
    const read: ReadHashes = (nodes) => Promise.resolve(nodes.map(({ level, index }) => this.hashes.get(`${level} ${index}`) as Buffer));
    const answer = async <T>(what: string, work: () => T | Promise<T>): Promise<T> => {
      this.asked.push(what);
      if (this.refuses[what]) throw this.refuses[what];
      return work();
    };
    return {
      keys: () => answer('keys', () => namedBy(this.signer)),
      checkpoint: () => answer('checkpoint', () => this.note()),
      consistencyProof: (from: number, to: number) => answer('consistency', () => consistencyProof(from, to, read)),
      inclusion: (receipt: string, size: number) =>
        answer('inclusion', async () => {
          const index = this.entries.findIndex(
            (entry) => entry.includes('"kind":"receipt"') && sha256Hex((JSON.parse(entry) as { receipt: string }).receipt) === receipt,
          );
          if (index < 0 || index >= size) throw refusal(404, 'LEDGER_NOT_FOUND');
          return { index, size, entry: this.entries[index] as string, proof: await inclusionProof(index, size, read) };
        }),
      reportFork: (report: ForkReport) => {
        this.reports.push(report);
        return Promise.resolve();
      },
    } as unknown as LedgerClient;
  }
}

let server: TestServer;
let dataSource: DataSource;

beforeAll(async () => {
  server = await startTestServer();
  const { url } = await server.createDatabase('edge');
  dataSource = await new DataSource(dataSourceOptions({ url }, () => undefined)).initialize();
  await dataSource.query('CREATE SCHEMA IF NOT EXISTS waypost');
  await dataSource.runMigrations();
});
afterAll(async () => {
  await dataSource?.destroy();
  await server?.[Symbol.asyncDispose]();
});
beforeEach(() =>
  dataSource.query(
    'DELETE FROM waypost.edge_ledger; DELETE FROM waypost.edge_ledger_forks; DELETE FROM waypost.edge_receipts; DELETE FROM waypost.edge_ledger_withheld',
  ),
);

/** A device that polls, in one life of its process. */
class Device {
  readonly last = new LastCheckpoint();
  readonly witness: Witness;
  /** What its trust document says of the ledger; and what the next document says, which central has. */
  trusted: ReturnType<typeof namedBy> | undefined;
  next: ReturnType<typeof namedBy> | undefined;

  constructor(
    readonly ledger: Ledger,
    { isEnrolled = true } = {},
  ) {
    const circuit = { run: (work: () => Promise<unknown>) => work() } as unknown as CentralCircuit;
    const metrics = { ledgerForks: { set: () => undefined } } as unknown as Metrics;
    const files = { identity: () => Promise.resolve(isEnrolled ? {} : undefined) } as unknown as IdentityFiles;
    const trust = {
      ledgerKeys: () => Promise.resolve(this.trusted),
      followNewest: () => {
        this.trusted = this.next ?? this.trusted;
        return Promise.resolve();
      },
    } as unknown as ManifestTrust;
    this.witness = new Witness(ledger.client, circuit, this.last, files, trust, metrics, pino({ enabled: false }));
  }

  /** One cycle, in which central answers with this checkpoint, or without one. */
  async poll(note: string | undefined = this.ledger.note()): Promise<this> {
    this.last.receive(note === '' ? {} : { [CHECKPOINT_HEADER]: Buffer.from(note).toString('base64') });
    return this.run();
  }

  /** One cycle, in which central does not answer unless `last` has an answer. */
  async run(): Promise<this> {
    const client = { query: async (text: string, values?: unknown[]) => ({ rows: rowsOf(await dataSource.query<unknown>(text, values)) }) };
    await this.witness.run({ cycle: { cycleId: 'c1', stop: new AbortController().signal }, client } as unknown as OpenCycle);
    return this;
  }

  get reasons(): string[] {
    return (this.witness.forks ?? []).map(({ reason }) => reason);
  }
}

/** TypeORM gives the rows of an UPDATE or a DELETE beside their number. */
const rowsOf = (result: unknown): unknown => (Array.isArray(result) && Array.isArray(result[0]) ? result[0] : result);

/** Central’s answer has no checkpoint. */
const NONE = '';

/** One cycle of a device whose process has just started. */
const poll = async (ledger: Ledger, note?: string): Promise<Witness> => (await new Device(ledger).poll(note)).witness;

/** As if what the device noted had been noted so long before. */
const letPass = (interval: string): Promise<unknown> =>
  dataSource.query(
    `UPDATE waypost.edge_ledger SET seen_at = seen_at - interval '${interval}'; UPDATE waypost.edge_ledger_withheld SET since = since - interval '${interval}'`,
  );

const reasons = (witness: Witness): string[] => (witness.forks ?? []).map(({ reason }) => reason);
const lastSize = async (): Promise<unknown> =>
  (await dataSource.query<[{ size: string }?]>('SELECT size FROM waypost.edge_ledger'))[0]?.size;

test('a ledger that grows is followed', async () => {
  const ledger = new Ledger();
  for (let round = 1; round < 9; round += 1) {
    await letPass('1 minute');
    expect(reasons(await poll(ledger.append(`a ${round}`, `b ${round}`)))).toEqual([]);
    expect(await lastSize()).toBe(String(2 * round));
  }
});

test.each<[string, Ledger, RegExp]>([
  ['of the same size', new Ledger().append('1', '2', 'other'), /Two trees of one size have different roots/],
  ['that is larger', new Ledger().append('1', '2', 'other', '4', '5'), /does not continue that of 3/],
  ['that is smaller', new Ledger().append('1', '2'), /has 2 leaves; it had 3/],
])('another history %s is found at the next poll, kept, and reported to central once', async (_, forked, reason) => {
  const ledger = new Ledger().append('1', '2', '3');
  expect(reasons(await poll(ledger))).toEqual([]);
  await letPass('1 minute');
  expect(reasons(await poll(forked))).toEqual([expect.stringMatching(reason)]);
  await poll(forked);
  expect(forked.reports).toEqual([{ seen: ledger.note(), received: forked.note(), reason: expect.stringMatching(reason) as string }]);
  expect(await lastSize()).toBe('3');
  expect(await dataSource.query('SELECT edge_sync_id FROM waypost.edge_ledger_forks')).toEqual([{ edge_sync_id: 'c1' }]);
});

test('an older checkpoint of the same history, as another process of central may send it, is none', async () => {
  const ledger = new Ledger().append('1');
  const older = ledger.note();
  await poll(ledger.append('2', '3'));
  expect(reasons(await poll(ledger, older))).toEqual([]);
});

test('a checkpoint that the ledger’s key did not sign is an alarm', async () => {
  const ledger = new Ledger().append('1');
  await poll(ledger);
  expect(reasons(await poll(ledger, ledger.append('2').note().replace(/\n2\n/, '\n3\n')))).toEqual([
    expect.stringContaining('does not verify'),
  ]);
});

describe('a receipt of the device', () => {
  const [body, signature] = ['{"a":1}', 'A'.repeat(86)];
  const entry = formatEntry({ version: 1, kind: 'receipt', receipt: body, signature, ack: null });
  const send = (ago: string) =>
    dataSource.query(
      `INSERT INTO waypost.edge_receipts (key, sequence, sha256, body, signature, sent_at) VALUES ('k', 1, $1, $2, $3, now() - $4::interval)`,
      [sha256Hex(body), body, signature, ago],
    );
  const isIncluded = async (): Promise<boolean> =>
    (await dataSource.query<[{ yes: boolean }]>('SELECT included_at IS NOT NULL AS yes FROM waypost.edge_receipts'))[0].yes;

  test('is seen in the ledger, once it is there', async () => {
    await send('1 s');
    const ledger = new Ledger().append('1');
    expect(reasons(await poll(ledger))).toEqual([]);
    expect(await isIncluded()).toBe(false);
    // At once: it is the device's own.
    expect(reasons(await poll(ledger.append(entry)))).toEqual([]);
    expect(await isIncluded()).toBe(true);
  });

  test('that is missing long after its ack is an alarm', async () => {
    await send('1 hour');
    expect(reasons(await poll(new Ledger().append('1')))).toEqual([expect.stringContaining('which central acknowledged')]);
  });

  test('that has another signature there is an alarm', async () => {
    await send('1 s');
    const altered = entry.replace('"signature":"A', '"signature":"B');
    expect(reasons(await poll(new Ledger().append(altered)))).toEqual([expect.stringContaining('has another entry')]);
  });

  test('is asked for after its ack, also where central repeats one checkpoint for ever, and its absence is an alarm', async () => {
    const device = new Device(new Ledger().append('1'));
    await device.poll();
    await device.poll();
    await send('1 s');
    device.last.acknowledged();
    await device.poll();
    expect(device.ledger.asked.filter((what) => what === 'inclusion')).toHaveLength(1);
    expect(device.reasons).toEqual([]);
    await dataSource.query("UPDATE waypost.edge_receipts SET sent_at = sent_at - interval '10 minutes'");
    await device.poll();
    expect(device.reasons).toEqual([expect.stringContaining('which central acknowledged')]);
  });

  test('whose absence an operator has explained is no alarm again', async () => {
    await send('1 hour');
    const device = await new Device(new Ledger().append('1')).poll();
    await dataSource.query('UPDATE waypost.edge_ledger_forks SET resolved_at = now(); DELETE FROM waypost.edge_ledger');
    await device.poll();
    expect(device.reasons).toEqual([]);
  });

  test('that central acknowledged, and never shows a ledger for, is an alarm', async () => {
    const device = new Device(new Ledger());
    device.ledger.refuses = { checkpoint: refusal(404, 'LEDGER_NOT_FOUND') };
    await send('1 s');
    for (let polls = 0; polls < 4; polls += 1) await device.poll(NONE);
    expect(device.ledger.asked).toHaveLength(4);
    expect(await dataSource.query('SELECT FROM waypost.edge_ledger_withheld')).toEqual([]);
    await dataSource.query("UPDATE waypost.edge_receipts SET sent_at = sent_at - interval '10 minutes'");
    for (let polls = 0; polls < 2; polls += 1) await device.poll(NONE);
    await letPass('10 minutes');
    await device.poll(NONE);
    expect(device.reasons).toEqual([expect.stringContaining('has withheld its ledger')]);
  });
});

describe('an answer without a checkpoint', () => {
  test('has the device ask for it, and what comes is judged', async () => {
    const device = await new Device(new Ledger().append('1')).poll();
    device.ledger.append('2');
    await letPass('1 minute');
    await device.poll(NONE);
    expect([device.reasons, await lastSize()]).toEqual([[], '2']);
    const forked = new Device(new Ledger().append('other', '2'));
    await forked.poll(NONE);
    expect(forked.reasons).toEqual([expect.stringContaining('different roots')]);
  });

  test('has it ask for nothing where central has no ledger, or the device has not enrolled', async () => {
    const device = await new Device(new Ledger()).poll(NONE);
    const stranger = await new Device(new Ledger().append('1'), { isEnrolled: false }).poll();
    expect([device.ledger.asked, stranger.ledger.asked]).toEqual([[], []]);
  });
});

describe('a ledger that is withheld', () => {
  const ways: [string, Record<string, WaypostError>, string | undefined][] = [
    ['without a checkpoint', { checkpoint: refusal(404, 'LEDGER_NOT_FOUND') }, NONE],
    ['with a failure for each checkpoint', { checkpoint: refusal(500, 'STORAGE_FAILED') }, NONE],
    [
      'with a checkpoint that no proof comes for',
      { consistency: new WaypostError('CENTRAL_UNREACHABLE', { detail: 'it hangs' }) },
      undefined,
    ],
  ];

  test.each(ways)('%s is an alarm after ten minutes, on both sides, also across restarts', async (_, refuses, note) => {
    const ledger = new Ledger().append('1');
    const seen = ledger.note();
    await poll(ledger);
    await letPass('1 hour');
    ledger.append('2').refuses = refuses;
    expect(reasons(await poll(ledger, note))).toEqual([]);
    expect(reasons(await poll(ledger, note))).toEqual([]);
    await letPass('10 minutes');
    const reason = expect.stringMatching(/has withheld its ledger for more than ten minutes\. ./) as string;
    expect(reasons(await poll(ledger, note))).toEqual([reason]);
    await poll(ledger, note);
    expect(ledger.reports).toEqual([{ seen, received: '', reason }]);
  });

  test('for a moment is none: once it is checked, the time begins again', async () => {
    const device = await new Device(new Ledger().append('1')).poll();
    const refuses = { checkpoint: refusal(500, 'STORAGE_FAILED') };
    for (let round = 0; round < 3; round += 1) {
      device.ledger.refuses = refuses;
      for (let polls = 0; polls < 2; polls += 1) await device.poll(NONE);
      await letPass('10 minutes');
      device.ledger.refuses = {};
      await device.poll();
      device.ledger.refuses = refuses;
      for (let polls = 0; polls < 2; polls += 1) await device.poll(NONE);
      device.ledger.append('more');
    }
    expect(device.reasons).toEqual([]);
  });

  test('by a central that does not answer at all is none', async () => {
    const device = await new Device(new Ledger().append('1')).poll();
    device.ledger.refuses = { checkpoint: new WaypostError('CENTRAL_UNREACHABLE') };
    for (let polls = 0; polls < 5; polls += 1) {
      await letPass('1 hour');
      await device.run();
    }
    expect(device.reasons).toEqual([]);
    expect(await dataSource.query('SELECT FROM waypost.edge_ledger_withheld')).toEqual([]);
  });

  test('does not hide two histories that are found later', async () => {
    const ledger = new Ledger().append('1');
    await poll(ledger);
    ledger.refuses = { checkpoint: refusal(404, 'LEDGER_NOT_FOUND') };
    for (let polls = 0; polls < 3; polls += 1, await letPass('10 minutes')) await poll(ledger, NONE);
    expect(reasons(await poll(new Ledger().append('other')))).toHaveLength(2);
  });
});

test('a device that polls often asks for a proof once a minute, and at once after its own ack', async () => {
  const device = await new Device(new Ledger().append('1')).poll();
  const proofs = (): number => device.ledger.asked.filter((what) => what === 'consistency').length;
  for (let polls = 0; polls < 3; polls += 1) {
    device.ledger.append(`more ${polls}`);
    await device.poll();
  }
  expect([proofs(), await lastSize()]).toEqual([0, '1']);
  await letPass('1 minute');
  await device.poll();
  expect([proofs(), await lastSize()]).toEqual([1, '4']);
  device.ledger.append('5');
  await device.poll();
  expect(proofs()).toBe(1);
  await dataSource.query(
    "INSERT INTO waypost.edge_receipts (key, sequence, sha256, body, signature, sent_at) VALUES ('k', 1, 'x', '{}', 'x', now())",
  );
  device.last.acknowledged();
  await device.poll();
  expect([proofs(), await lastSize()]).toEqual([2, '5']);
  expect(device.reasons).toEqual([]);
});

test('a device whose clock was set back asks for proofs all the same', async () => {
  const device = await new Device(new Ledger().append('1')).poll();
  await letPass('-1 day');
  device.ledger.append('2');
  await device.poll();
  expect(await lastSize()).toBe('2');
});

describe('a ledger whose key was replaced', () => {
  let device: Device;
  beforeEach(async () => {
    device = new Device(new Ledger().append('1'));
    device.trusted = namedBy(SIGNER);
    await device.poll();
    expect(device.ledger.asked).toEqual([]);
    await letPass('1 minute');
    device.ledger.append('2').signer = NEW_SIGNER;
  });

  test.each<[string, Partial<Device>]>([
    ['the trust document names', { trusted: namedBy(NEW_SIGNER) }],
    ['a newer trust document names, which no answer has told of', { next: namedBy(NEW_SIGNER, SIGNER) }],
  ])('is followed where %s the new one', async (_, known) => {
    await Object.assign(device, known).poll();
    expect([device.reasons, await lastSize()]).toEqual([[], '2']);
    expect(await dataSource.query('SELECT keys FROM waypost.edge_ledger')).toEqual([{ keys: device.trusted?.keys }]);
  });

  test('is an alarm at once where no trust document names the new one', async () => {
    await device.poll();
    expect([device.reasons, await lastSize()]).toEqual([[expect.stringContaining('no key that is trusted')], '1']);
  });

  test('and whose last checkpoint is sent by a process of central that has not read the new one yet, is none', async () => {
    device.ledger.signer = SIGNER;
    const before = device.ledger.note();
    device.ledger.signer = NEW_SIGNER;
    device.trusted = namedBy(NEW_SIGNER);
    await device.poll(before);
    expect([device.reasons, await lastSize()]).toEqual([[], '2']);
  });

  test('must continue what the key before had signed', async () => {
    const forked = new Device(new Ledger().append('other', '2'));
    forked.ledger.signer = NEW_SIGNER;
    forked.trusted = namedBy(NEW_SIGNER);
    await forked.poll();
    expect(forked.reasons).toEqual([expect.stringContaining('does not continue that of 1')]);
  });

  test('is no new key for a device whose trust document names none: it keeps what it was told first', async () => {
    device.trusted = undefined;
    await device.poll();
    expect(device.reasons).toEqual([expect.stringContaining('no key that is trusted')]);
    expect(device.ledger.asked).not.toContain('keys');
  });
});
