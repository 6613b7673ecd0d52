import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { MALLOC, MEMORY_FLAGS } from '../scripts/start/service-process.js';
import { planOf } from './corpus/any-schema.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { post, Service } from './support/service.js';
import { temporaryFolder } from './support/temporary-folder.js';

const MIB = 1 << 20;
const SMALL = 1 * MIB;
const LARGE = 32 * MIB;

let server: TestServer;
let base: Record<'first' | 'changed', Peaks>;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;

beforeAll(async () => {
  server = await startTestServer();
  folder = await temporaryFolder();
  base = await peaksWith(SMALL, 3);
});

afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

interface Peaks {
  central: number;
  edge: number;
}

/** The peak RSS of both services: while a first sync brings so many long rows, and while the next one brings them changed. */
async function peaksWith(rowBytes: number, rows: number): Promise<Record<'first' | 'changed', Peaks>> {
  const [atCentral, atEdge] = [await server.createSide('central'), await server.createSide('edge')];
  const source = new pg.Client({ connectionString: atCentral.ownerUrl });
  await source.connect();
  try {
    await source.query(`CREATE TABLE large (id int PRIMARY KEY, v bytea); ALTER TABLE large ALTER v SET STORAGE EXTERNAL;
      INSERT INTO large SELECT id, '\\x00' FROM generate_series(1, 50000) AS id`);
    await fill(source, rowBytes, rows);
    const plan = join(folder.path, `plan-${rowBytes}-${rows}.yaml`);
    await writeFile(plan, planOf([{ name: 'large' }]));
    // With the memory settings of the images: V8's own would leave more uncollected, the more the busier the machine is.
    const ofCentral = {
      ...MALLOC,
      DATABASE_URL: atCentral.serviceUrl,
      SYNC_PLAN: plan,
      SNAPSHOT_STORE: `file:${join(folder.path, `snapshots-${rowBytes}-${rows}`)}`,
    };
    await using central = await Service.start('central-api', ofCentral, MEMORY_FLAGS);
    const ofEdge = {
      ...MALLOC,
      DATABASE_URL: atEdge.serviceUrl,
      CENTRAL_URL: central.url,
      DEVICE_MAC: '48:b0:2d:e9:c3:b7',
      SYNC_INTERVAL: '0',
      DOWNLOAD_DIR: join(folder.path, `downloads-${rowBytes}-${rows}`),
    };
    await using edge = await Service.start('edge-service', ofEdge, MEMORY_FLAGS);
    const sync = async (): Promise<Peaks> => {
      for (const { pid } of [central, edge]) await writeFile(`/proc/${pid}/clear_refs`, '5'); // the peak counts from now on
      expect((await post(`${edge.url}/api/sync/now`)).body).toMatchObject({ status: 'Success' });
      return { central: await peakOf(central), edge: await peakOf(edge) };
    };
    const first = await sync();
    await fill(source, rowBytes, rows);
    return { first, changed: await sync() };
  } finally {
    await source.end();
  }
}

/** Long rows that nothing can compress, some beside each other, some not. */
async function fill(source: pg.Client, rowBytes: number, rows: number): Promise<void> {
  for (let at = 0; at < rows; at += 1) {
    const id = at < 2 ? at + 1 : at * 10_000;
    await source.query('UPDATE large SET v = $1 WHERE id = $2', [randomBytes(rowBytes), id]);
  }
}

async function peakOf({ pid }: Service): Promise<number> {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

test.each([
  { rows: 1, central: 4, edge: 2 },
  { rows: 3, central: 4, edge: 4 },
])('with long rows ($rows) memory grows by no more of them than docs/operations.md says', async ({ rows, ...bounds }) => {
  expect(findUnbounded(await peaksWith(LARGE, rows), bounds)).toEqual([]);
});

/** Peaks that are over their bound, in rows. */
function findUnbounded(large: Record<'first' | 'changed', Peaks>, bounds: Peaks): string[] {
  const ways = ['first', 'changed'] as const;
  return ways.flatMap((way) =>
    (['central', 'edge'] as const).flatMap((side) => {
      const held = (large[way][side] - base[way][side]) / (LARGE - SMALL);
      // Less than one row more, for what V8 has not collected yet.
      return held < bounds[side] + 0.75 ? [] : [`${way} ${side}: ${held}`];
    }),
  );
}
