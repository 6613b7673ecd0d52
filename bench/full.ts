import { join } from 'node:path';
import { benchFolder } from './bench-folder.js';
import { COLUMN_COUNT, fillCentral, fingerprint, TABLE } from './dataset.js';
import { describeMachine } from './machine.js';
import { measure, type Sample } from './measure.js';
import { logicalReplication, orderedBinaryCopy, type Peer, textCopy } from './peers.js';
import { type FullReport, type SizeRun, summarize } from './full-report.js';
import { Servers, withClient } from './servers.js';
import { Services } from './services.js';

export interface FullOptions {
  rows: number;
  rounds: number;
  say: (line: string) => void;
  /** Ends the servers, and with them what runs on them. */
  signal: AbortSignal;
}

/**
 * A device's first sync beside what PostgreSQL itself offers, on the same two servers with the same rows; before that the sync alone
 * with a tenth of the rows, which shows whether memory depends on the table's size.
 * @throws Error when a step fails, or when the edge does not hold exactly central's rows afterwards
 */
export async function runFull({ rows, rounds, say, signal }: FullOptions): Promise<FullReport> {
  await using run = await benchFolder();
  const folder = run.path;
  say('starting PostgreSQL for central and edge');
  await using servers = await Servers.start(folder, signal);
  const small = await runSize({ servers, folder, rows: Math.ceil(rows / 10), rounds, say, withPeers: false });
  const large = await runSize({ servers, folder, rows, rounds, say, withPeers: true });
  return summarize({
    date: new Date(),
    machine: describeMachine(),
    versions: { node: process.versions.node, postgres: servers.version },
    settings: await servers.settings(),
    table: { rows, columns: COLUMN_COUNT, bytes: large.full[0]?.rawBytes ?? NaN },
    rounds,
    small,
    large,
  });
}

interface SizeOptions extends Pick<FullOptions, 'rows' | 'rounds' | 'say'> {
  servers: Servers;
  folder: string;
  withPeers: boolean;
}

/** The services are started again for each size, so that their peak memory is that of this size. */
async function runSize({ servers, folder, rows, rounds, say, withPeers }: SizeOptions): Promise<SizeRun> {
  const database = `bench_${rows}`;
  say(`filling ${rows.toLocaleString('en-US')} rows`);
  await servers.createDatabases(database);
  const edgeUrl = servers.urlOf('edge', database);
  const expected = await withClient(servers.urlOf('central', database), async (client) => {
    await fillCentral(client, rows);
    return fingerprint(client);
  });

  await using services = await Services.start(servers, database, join(folder, database));
  const peers: Record<string, Peer> = withPeers
    ? {
        orderedBinaryCopy: orderedBinaryCopy(servers, database),
        textCopy: textCopy(servers, database),
        logicalReplication: logicalReplication(servers, database),
      }
    : {};
  const idle = await services.memory();
  const run: SizeRun = {
    rows,
    full: [],
    built: [],
    memory: { idle, after: idle },
    peers: Object.fromEntries(Object.keys(peers).map((name) => [name, []])),
  };
  const processes = {
    central: services.central.pid,
    edge: services.edge.pid,
    centralPostgres: servers.central.pid,
    edgePostgres: servers.edge.pid,
  };

  const check = async (way: string, { ms }: Sample): Promise<void> => {
    const found = await withClient(edgeUrl, fingerprint);
    if (found !== expected) throw new Error(`After ${way} the edge's rows differ from central's: ${found}, not ${expected}.`);
    say(`${way}: ${(ms / 1000).toFixed(2)} s, rows equal`);
  };
  for (let round = 1; round <= rounds; round += 1) {
    say(`${rows.toLocaleString('en-US')} rows, round ${round} of ${rounds}`);
    for (const way of ['full', 'built'] as const) {
      await (way === 'full' ? services.forgetEverything() : services.forgetEdge());
      await servers.checkpoint();
      const { result, ...sample } = await measure(processes, () => services.syncNow());
      run[way].push({ ...sample, ...result, steps: services.takeSteps() });
      await check(way, sample);
    }
    for (const [name, peer] of Object.entries(peers)) {
      await withClient(edgeUrl, (client) => client.query(`TRUNCATE ${TABLE}`));
      await servers.checkpoint();
      try {
        const { ms, cpuSeconds } = await measure(processes, () => peer.run());
        run.peers[name]?.push({ ms, cpuSeconds });
        await check(name, { ms, cpuSeconds });
      } finally {
        await peer.cleanUp();
      }
    }
  }
  run.memory.after = await services.memory();
  return run;
}
