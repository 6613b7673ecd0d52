import type { CommandDatabase } from '@waypost/command-line';
import { type Manifest, WaypostError } from '@waypost/contracts';
import { queryOn, withClient, withTransaction } from '@waypost/runtime';
import type { CentralRecord } from './central-record.js';
import { hashMirror, type TableFinding } from './hash-mirror.js';
import { findHeld, type Held } from './held-state.js';

/** Whether a device's database holds what the device says it holds. */
export interface MirrorVerification {
  /** No drift, and central, where it was asked, says the same. */
  ok: boolean;
  mac: string;
  manifestId: string;
  epoch: string;
  sequence: number;
  /** When the device last verified itself. */
  verifiedAt: string;
  /** Names of the tables that are not as they should be. */
  drifted: string[];
  tables: TableFinding[];
  /** User-defined types that differ from the manifest's. */
  typeDifferences: string[];
  central: CentralComparison;
  durationMs: number;
}

export interface CentralComparison {
  asked: boolean;
  source: string | null;
  found: boolean;
  /** Why it cannot say. */
  reason: string | null;
  differences: string[];
}

/** What was hashed, in one snapshot. */
interface Hashed {
  held: Held;
  manifest: Manifest;
  tables: TableFinding[];
  types: string[];
}

/**
 * Hashes the mirror again and compares it with the device's manifest, and that with central's record. Reads only.
 * @param findRecord asks central; undefined where there is none to ask
 * @throws WaypostError MANIFEST_UNKNOWN where nothing was ever verified, or neither side has the manifest; MANIFEST_INVALID
 */
export async function verifyMirror(
  database: CommandDatabase,
  findRecord: (held: Held) => Promise<CentralRecord | undefined>,
): Promise<MirrorVerification> {
  const startedAt = performance.now();
  const expected = await findHeld(database.query);
  if (!expected) throw neverVerified();
  let record = await findRecord(expected);
  const hashed = await hashHeld(database, record);
  const { held, manifest, tables, types } = hashed;
  // The device synced between the two reads.
  if (held.manifestId !== expected.manifestId) record = await findRecord(held);
  const central = comparisonOf(hashed, record);
  const drifted = tables.filter(({ state }) => state !== 'ok').map(({ name }) => name);
  return {
    ok: drifted.length === 0 && types.length === 0 && central.differences.length === 0,
    mac: manifest.device.mac,
    manifestId: held.manifestId,
    epoch: held.epoch,
    sequence: held.sequence,
    verifiedAt: held.verifiedAt.toISOString(),
    drifted,
    tables,
    typeDifferences: types,
    central,
    durationMs: Math.round(performance.now() - startedAt),
  };
}

async function hashHeld(database: CommandDatabase, record: CentralRecord | undefined): Promise<Hashed> {
  return database.run((pool) =>
    withClient(pool, (client) =>
      withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
        const held = await findHeld(queryOn(client));
        if (!held) throw neverVerified();
        const fromCentral = record?.found && record.manifest.manifestId === held.manifestId ? record.manifest : undefined;
        const manifest = held.manifest ?? fromCentral;
        if (!manifest) throw manifestNotStored(held);
        return { held, manifest, ...(await hashMirror(client, manifest)) };
      }),
    ),
  );
}

function comparisonOf(hashed: Hashed, record: CentralRecord | undefined): CentralComparison {
  if (!record) return { asked: false, source: null, found: false, reason: null, differences: [] };
  const { source, found } = record;
  if (!record.found) return { asked: true, source, found, reason: record.reason, differences: [] };
  return { asked: true, source, found, reason: null, differences: compareWithCentral(hashed, record.manifest) };
}

/** What central says otherwise about the manifest that the device holds, by table where it can be told. */
function compareWithCentral({ held, manifest, tables }: Hashed, central: Manifest): string[] {
  const differences = central.tables.flatMap(({ name, sha256, rowCount }) => {
    const own = tables.find((table) => table.name === name);
    if (!own) return [`${name} is in central’s manifest, not in the device’s`];
    const same = own.expected.sha256 === sha256 && own.expected.rowCount === rowCount;
    return same
      ? []
      : [
          `${name}: central’s manifest says ${rowCount} rows, sha256 ${sha256}, the device’s ${own.expected.rowCount}, ${own.expected.sha256}`,
        ];
  });
  const additional = manifest.tables.filter(({ name }) => !central.tables.some((table) => table.name === name));
  differences.push(...additional.map(({ name }) => `${name} is in the device’s manifest, not in central’s`));
  if (differences.length === 0 && held.manifestSha256 !== central.sha256) {
    differences.push(`the manifest: central’s has sha256 ${central.sha256}, the device’s ${held.manifestSha256}`);
  }
  return differences;
}

function neverVerified(): WaypostError {
  return new WaypostError('MANIFEST_UNKNOWN', {
    detail: 'This device has never loaded and verified anything: there is nothing to compare with.',
    hint: 'waypost status says why; POST /api/sync/now on the device starts a cycle.',
  });
}

function manifestNotStored({ manifestId }: Held): WaypostError {
  return new WaypostError('MANIFEST_UNKNOWN', {
    detail: `The device’s state was written by an older version, without its manifest ${manifestId}.`,
    hint: 'Give --central-url or --central-database-url (and DEVICE_MAC), or let the device sync once with this version.',
  });
}
