import { join } from 'node:path';
import { benchFolder } from './bench-folder.js';
import { type Cost, Costs, type CostSpread, measureRequest, sumOf } from './costs.js';
import { fillCentral, TABLE } from './dataset.js';
import type { FullOptions } from './full.js';
import { describeMachine, type Machine } from './machine.js';
import { measure } from './measure.js';
import { readOrdered } from './peers.js';
import { Servers, type Side, withClient } from './servers.js';
import { type ScrubAnswer, Services } from './services.js';

/** A row that is not mended by then is not found at all. */
const MAX_TRIES = 3;

/** How the device is asked to compare its rows with what they should be: the one place that knows. */
const askToVerify = (services: Services): Promise<{ answer: ScrubAnswer; cost: Cost }> =>
  measureRequest(services, () => services.postScrub());

export type DriftCost = 'verified' | 'copied' | 'mended';

/** The result of `bench drift`, as --json prints it. */
export interface DriftReport {
  case: 'drift';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  settings: Record<Side, Record<string, string>>;
  rows: number;
  rounds: number;
  costs: Record<DriftCost, CostSpread>;
}

/**
 * What it costs to find a row that was altered on the device and to put it right, and to find that all rows are right.
 * @throws Error when the row is not put right
 */
export async function runDrift({ rows, rounds, say, signal }: FullOptions): Promise<DriftReport> {
  await using run = await benchFolder();
  await using servers = await Servers.start(run.path, signal);
  const database = 'drift';
  await servers.createDatabases(database);
  say(`filling ${rows.toLocaleString('en-US')} rows`);
  await withClient(servers.urlOf('central', database), (client) => fillCentral(client, rows));
  await using services = await Services.start(servers, database, join(run.path, database), { counted: true });
  services.succeeded(await services.postSync());
  const costs = new Costs();
  for (let round = 1; round <= rounds; round += 1) {
    const id = Math.ceil((rows * round) / (rounds + 1));
    const ways: Record<DriftCost, () => Promise<Cost>> = {
      verified: () => verifyRight(services),
      copied: () => measure({}, () => readOrdered(services.databases.edge)).then(({ ms }) => ({ ms })),
      mended: () => mend(services, id),
    };
    for (const [name, work] of Object.entries(ways)) {
      await servers.checkpoint();
      const cost = await work();
      costs.add(name, cost);
      say(`round ${round} of ${rounds}, ${name}: ${cost.ms.toFixed(0)} ms`);
    }
  }
  return {
    case: 'drift',
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: { node: process.versions.node, postgres: servers.version },
    settings: await servers.settings(),
    rows,
    rounds,
    costs: costs.spreads(),
  };
}

async function verifyRight(services: Services): Promise<Cost> {
  const { answer, cost } = await askToVerify(services);
  if (answer.drifts?.length !== 0) throw new Error(`Rows that are right were answered with ${JSON.stringify(answer)}.`);
  return cost;
}

/** Alters a row, and asks until it is as it was. */
async function mend(services: Services, id: number): Promise<Cost> {
  return withClient(services.databases.edge, async (client) => {
    const read = async (): Promise<unknown> => (await client.query(`SELECT * FROM ${TABLE} WHERE id = $1`, [id])).rows;
    const before = JSON.stringify(await read());
    await client.query(`UPDATE ${TABLE} SET price = price + 1 WHERE id = $1`, [id]);
    const tries: Cost[] = [];
    while (tries.length < MAX_TRIES) {
      tries.push((await askToVerify(services)).cost);
      if (JSON.stringify(await read()) === before) return sumOf(tries);
    }
    throw new Error(`The row ${id} is not put right.\nThe end of the edge's log:\n${services.edge.logTail}`);
  });
}
