import { join } from 'node:path';
import { benchFolder } from './bench-folder.js';
import { type Cost, Costs, type CostSpread, measureSync } from './costs.js';
import { COLUMN_COUNT, fingerprint } from './dataset.js';
import {
  addColumn,
  type Change,
  changeHundred,
  createDeltaTable,
  DELTA_PLAN,
  type DeltaSize,
  fillDelta,
  IN_SCOPE,
  type KeyType,
  swapShelves,
  updateOne,
  updateTenth,
  updateTenthInBatches,
} from './delta-data.js';
import { askAll, fleetMacs, type FleetAnswers } from './fleet-rush.js';
import type { FullOptions } from './full.js';
import { describeMachine, type Machine } from './machine.js';
import { measure } from './measure.js';
import { readOrdered } from './peers.js';
import { ReplicatedTable } from './replicated-table.js';
import { Servers, type Side, withClient } from './servers.js';
import { Services } from './services.js';
import { mediansByName, medianOf } from './statistics.js';

/** Part of a download after which its connection is cut. */
const CUT_AT = 0.9;
/** Of one small change after another in each round: a single sync takes mostly what both services do for the first time. */
export const SMALL_CHANGES = 5;

export interface DeltaOptions extends FullOptions {
  keys: readonly KeyType[];
  devices: number;
}

/** What is measured, in this order. */
export type DeltaCost =
  | 'one'
  | 'hundred'
  | 'hundredSmall'
  | 'hundredReplicated'
  | 'tenth'
  | 'tenthReplicated'
  | 'cut'
  | 'entered'
  | 'scopeCopied'
  | 'absence'
  | 'column';

/** With keys of one type. */
export interface DeltaRun {
  keys: KeyType;
  rows: number;
  smallRows: number;
  costs: Partial<Record<DeltaCost, CostSpread>>;
  /** The error with which the device refused a new column; absent where it did not. */
  parkedCode?: string;
  /** Of the bytes of a download that was cut, those that came twice: median share. */
  fetchedAgain: number;
  /** Medians. */
  fleet: FleetAnswers;
}

/** The result of `bench delta`, as --json prints it. */
export interface DeltaReport {
  case: 'delta';
  date: string;
  machine: Machine;
  versions: { node: string; postgres: string };
  settings: Record<Side, Record<string, string>>;
  columns: number;
  devices: number;
  rounds: number;
  runs: DeltaRun[];
}

/**
 * What a change costs a device that holds the rest, beside logical replication of the same change and an ordered COPY of the whole scope.
 * @throws Error when a step fails, or when the device does not hold exactly its share afterwards
 */
export async function runDelta({ rows, rounds, keys, devices, say, signal }: DeltaOptions): Promise<DeltaReport> {
  await using run = await benchFolder();
  await using servers = await Servers.start(run.path, signal);
  const runs: DeltaRun[] = [];
  for (const type of keys) {
    const sayOfKeys = (line: string): void => say(`${type} keys, ${line}`);
    runs.push(await runKeys({ servers, folder: run.path, keys: type, rows: wholeShelves(rows), rounds, devices, say: sayOfKeys }));
  }
  return {
    case: 'delta',
    date: new Date().toISOString(),
    machine: describeMachine(),
    versions: { node: process.versions.node, postgres: servers.version },
    settings: await servers.settings(),
    columns: COLUMN_COUNT,
    devices,
    rounds,
    runs,
  };
}

interface KeysOptions extends Pick<FullOptions, 'rounds' | 'say'>, DeltaSize {
  servers: Servers;
  folder: string;
  devices: number;
}

async function runKeys({ servers, folder, keys, rows, rounds, devices, say }: KeysOptions): Promise<DeltaRun> {
  const smallRows = wholeShelves(rows / 10);
  say(`filling ${rows.toLocaleString('en-US')} rows, twice, and ${smallRows.toLocaleString('en-US')}`);
  const fleet = fleetMacs(devices);
  await using small = await DeltaBench.start(servers, folder, { keys, rows: smallRows }, []);
  await using large = await DeltaBench.start(servers, folder, { keys, rows }, fleet);
  await using replicated = await ReplicatedTable.start(servers, `replicated_${keys}`, {
    fill: (client) => fillDelta(client, { keys, rows }, []),
    create: (client) => createDeltaTable(client, keys),
  });
  const costs = new Costs();
  const again: number[] = [];
  const rushes: FleetAnswers[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    const measured: Measured = async (name, work) => {
      await servers.checkpoint();
      const cost = await work();
      costs.add(name, cost);
      say(`round ${round} of ${rounds}, ${name}: ${cost.ms.toFixed(0)} ms`);
      return cost;
    };
    await measureScattered({ small, large, replicated }, keys, round, measured);
    again.push(await measureTenth({ large, replicated }, round, measured));
    await measured('entered', () => large.costOf(swapShelves(rows)));
    await measured('scopeCopied', () => large.copyScope());
    await measured('absence', () => large.costAfterAbsence());
    rushes.push(await large.rush(fleet));
    await large.checkRows();
  }
  const parkedCode = await addColumns(large, costs, rounds);
  return {
    keys,
    rows,
    smallRows,
    costs: costs.spreads(),
    ...(parkedCode === undefined ? {} : { parkedCode }),
    fetchedAgain: medianOf(again),
    fleet: mediansByName(rushes.map((rush) => ({ ...rush }))) as unknown as FleetAnswers,
  };
}

/** Runs one measurement, and keeps what it cost. */
type Measured = (name: DeltaCost, work: () => Promise<Cost>) => Promise<Cost>;

interface Tables {
  small: DeltaBench;
  large: DeltaBench;
  replicated: ReplicatedTable;
}

async function measureScattered({ small, large, replicated }: Tables, keys: KeyType, round: number, measured: Measured): Promise<void> {
  const change = changeHundred(keys);
  const seeds = Array.from({ length: SMALL_CHANGES }, (_, at) => round * SMALL_CHANGES + at);
  for (const seed of seeds) {
    await measured('one', () => large.costOf(updateOne));
    await measured('hundredSmall', () => small.costOf(change));
    await measured('hundred', () => large.costOf(change));
    await measured('hundredReplicated', () => replicated.apply((client) => change(client, seed)));
  }
}

/** @returns the share of its bytes that a download fetches again which is cut */
async function measureTenth({ large, replicated }: Omit<Tables, 'small'>, round: number, measured: Measured): Promise<number> {
  const { bytes: whole = NaN } = await measured('tenth', () => large.costOf(updateTenth));
  await measured('tenthReplicated', () => replicated.apply((client) => updateTenth(client, round)));
  const { bytes: withCut = NaN } = await measured('cut', () => large.costOf(updateTenth, { cutAfter: whole * CUT_AT }));
  return Math.max(0, withCut / whole - 1);
}

/** Last of all, for a device that refuses the first column syncs no more. @returns the error's code then */
async function addColumns(bench: DeltaBench, costs: Costs, rounds: number): Promise<string | undefined> {
  for (let round = 1; round <= rounds; round += 1) {
    const { answer, cost } = await bench.syncAfterColumn();
    if (answer.code !== undefined) return answer.code;
    costs.add('column', cost);
  }
  return undefined;
}

/** Both services, and one device's scope of one size. */
class DeltaBench implements AsyncDisposable {
  /** Of the last change. */
  private seed = 0;

  private constructor(
    private readonly services: Services,
    private readonly size: DeltaSize,
  ) {}

  /** Returns when the device has its rows. */
  static async start(servers: Servers, folder: string, size: DeltaSize, fleet: readonly string[]): Promise<DeltaBench> {
    const database = `delta_${size.keys}_${size.rows}`;
    await servers.createDatabases(database);
    await withClient(servers.urlOf('central', database), (client) => fillDelta(client, size, fleet));
    const services = await Services.start(servers, database, join(folder, database), { plan: DELTA_PLAN, counted: true });
    try {
      services.succeeded(await services.postSync());
      return new DeltaBench(services, size);
    } catch (error) {
      await services[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Of the sync after a change. @param cutAfter bytes after which central's connection is cut */
  async costOf(change: Change, { cutAfter = Infinity } = {}): Promise<Cost> {
    await this.commit(change);
    this.services.wire?.cutAfter(cutAfter);
    return this.sync();
  }

  async costAfterAbsence(): Promise<Cost> {
    this.seed += 1;
    await withClient(this.services.databases.central, (client) => updateTenthInBatches(client, this.seed));
    return this.sync();
  }

  /** Whatever comes of it. */
  async syncAfterColumn(): ReturnType<typeof measureSync> {
    await this.commit(addColumn);
    return measureSync(this.services);
  }

  async copyScope(): Promise<Cost> {
    const { ms } = await measure({}, () => readOrdered(this.services.databases.central, IN_SCOPE));
    return { ms };
  }

  async rush(macs: readonly string[]): Promise<FleetAnswers> {
    return askAll(this.services.central, macs, () => this.commit(changeHundred(this.size.keys)));
  }

  /** After a sync that is not measured. @throws Error when the device does not hold exactly its share */
  async checkRows(): Promise<void> {
    await this.sync();
    const { central, edge } = this.services.databases;
    const expected = await withClient(central, (client) => fingerprint(client, IN_SCOPE));
    const found = await withClient(edge, (client) => fingerprint(client));
    if (found !== expected) throw new Error(`The device's rows differ from its share: ${found}, not ${expected}.`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.services[Symbol.asyncDispose]();
  }

  private async commit(change: Change): Promise<void> {
    this.seed += 1;
    await withClient(this.services.databases.central, async (client) => {
      await client.query('BEGIN');
      await change(client, this.seed);
      await client.query('COMMIT');
    });
  }

  private async sync(): Promise<Cost> {
    const { answer, cost } = await measureSync(this.services);
    this.services.succeeded(answer);
    return cost;
  }
}

function wholeShelves(rows: number): number {
  return Math.ceil(rows / 100) * 100;
}
