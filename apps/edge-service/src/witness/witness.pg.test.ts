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
import type { Metrics } from '../metrics/metrics.js';
import type { OpenCycle } from '../phase/cycle-phase.js';
import { Witness } from './witness.js';

const ORIGIN = 'urn:waypost:fleet:01ARZ3NDEKTSV4RRFFQ69G5FAV';
const SIGNER: SigningKey = { name: ORIGIN, privateKey: generateKeyPairSync('ed25519').privateKey };

/** A ledger in memory, which answers as central does. */
class Ledger {
  readonly reports: ForkReport[] = [];
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
    return signCheckpoint({ origin: ORIGIN, size: this.frontier.size, root: this.frontier.root(), extensions: [] }, [SIGNER]);
  }

  get client(): LedgerClient {
    const read: ReadHashes = (nodes) => Promise.resolve(nodes.map(({ level, index }) => this.hashes.get(`${level} ${index}`) as Buffer));
    return {
      keys: () => Promise.resolve({ origin: ORIGIN, keys: [formatVerifierKey(verifierKeyOf(SIGNER))] }),
      checkpoint: () => Promise.resolve(this.note()),
      consistencyProof: (from: number, to: number) => consistencyProof(from, to, read),
      inclusion: async (receipt: string, size: number) => {
        const index = this.entries.findIndex(
          (entry) => entry.includes('"kind":"receipt"') && sha256Hex((JSON.parse(entry) as { receipt: string }).receipt) === receipt,
        );
        if (index < 0 || index >= size)
          throw refusalError({ status: 404, body: JSON.stringify(toProblem(new WaypostError('LEDGER_NOT_FOUND'))) });
        return { index, size, entry: this.entries[index] as string, proof: await inclusionProof(index, size, read) };
      },
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
  dataSource.query('DELETE FROM waypost.edge_ledger; DELETE FROM waypost.edge_ledger_forks; DELETE FROM waypost.edge_receipts'),
);

/** One cycle of a device that gets this checkpoint with its answer. */
async function poll(ledger: Ledger, note = ledger.note()): Promise<Witness> {
  const last = new LastCheckpoint();
  last.receive({ [CHECKPOINT_HEADER]: Buffer.from(note).toString('base64') });
  const circuit = { run: (work: () => Promise<unknown>) => work() } as unknown as CentralCircuit;
  const metrics = { ledgerForks: { set: () => undefined } } as unknown as Metrics;
  const witness = new Witness(ledger.client, circuit, last, metrics, pino({ enabled: false }));
  const client = { query: async (text: string, values?: unknown[]) => ({ rows: await dataSource.query<unknown>(text, values) }) };
  await witness.run({ cycle: { stop: new AbortController().signal }, client } as unknown as OpenCycle);
  return witness;
}

const reasons = (witness: Witness): string[] => (witness.forks ?? []).map(({ reason }) => reason);
const lastSize = async (): Promise<unknown> =>
  (await dataSource.query<[{ size: string }?]>('SELECT size FROM waypost.edge_ledger'))[0]?.size;

test('a ledger that grows is followed', async () => {
  const ledger = new Ledger();
  for (let round = 1; round < 9; round += 1) {
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
  expect(reasons(await poll(forked))).toEqual([expect.stringMatching(reason)]);
  await poll(forked);
  expect(forked.reports).toEqual([{ seen: ledger.note(), received: forked.note(), reason: expect.stringMatching(reason) as string }]);
  expect(await lastSize()).toBe('3');
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
});
