import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { TABLE } from './dataset.js';
import { type Latency, latencyOf } from './statistics.js';

/** Pauses between reads: readers that never rest would take a core each from the syncs. */
const ROW_PAUSE_MS = 5;
const SUMS_PAUSE_MS = 100;
/** One statement reads from one snapshot: rows of two manifests in it would not add up. */
const SUMS = `SELECT sum(quantity) = (SELECT quantity FROM totals) AS agree FROM ${TABLE}`;

/** Milliseconds of reading one row by its key, and of sums over the whole table. */
export type ReaderLatencies = Record<'row' | 'sums', Latency>;

/** Two connections to the mirror that read again and again until they are disposed of. */
export class MirrorReaders implements AsyncDisposable {
  /** Sums that did not agree, of so many. */
  mixtures = 0;
  sums = 0;
  private took: Record<keyof ReaderLatencies, number[]> = { row: [], sums: [] };
  private readonly stopped = new AbortController();
  private readonly loops: Promise<void>;

  private constructor(
    private readonly clients: readonly [pg.Client, pg.Client],
    private readonly rows: number,
  ) {
    const [rowClient, sumsClient] = clients;
    this.loops = Promise.all([
      this.repeat('row', ROW_PAUSE_MS, () => this.readRow(rowClient)),
      this.repeat('sums', SUMS_PAUSE_MS, () => this.readSums(sumsClient)),
    ]).then(() => undefined);
    this.loops.catch(() => undefined); // what failed is thrown when they are disposed of
  }

  /** @param rows of the table, whose keys are 1 to so many */
  static async start(url: string, rows: number): Promise<MirrorReaders> {
    const clients = [0, 1].map(() => new pg.Client({ connectionString: url })) as [pg.Client, pg.Client];
    for (const client of clients) {
      client.on('error', () => undefined); // the running statement rejects as well
      await client.connect();
    }
    return new MirrorReaders(clients, rows);
  }

  async readFor(ms: number): Promise<void> {
    await Promise.race([sleep(ms), this.loops]);
  }

  /** Since the last call. */
  takeLatencies(): ReaderLatencies {
    const { row, sums } = this.took;
    this.took = { row: [], sums: [] };
    return { row: latencyOf(row), sums: latencyOf(sums) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopped.abort();
    try {
      await this.loops;
    } finally {
      await Promise.all(this.clients.map((client) => client.end()));
    }
  }

  private async repeat(name: keyof ReaderLatencies, pauseMs: number, read: () => Promise<void>): Promise<void> {
    while (!this.stopped.signal.aborted) {
      const startedAt = performance.now();
      await read();
      this.took[name].push(performance.now() - startedAt);
      await sleep(pauseMs);
    }
  }

  private async readRow(client: pg.Client): Promise<void> {
    const id = 1 + Math.floor(Math.random() * this.rows);
    const { rowCount } = await client.query({ name: 'row', text: `SELECT * FROM ${TABLE} WHERE id = $1`, values: [id] });
    if (rowCount !== 1) throw new Error(`Row ${id} is not there.`);
  }

  private async readSums(client: pg.Client): Promise<void> {
    const { rows } = await client.query<{ agree: boolean }>({ name: 'sums', text: SUMS });
    this.sums += 1;
    if (rows[0]?.agree !== true) this.mixtures += 1;
  }
}
