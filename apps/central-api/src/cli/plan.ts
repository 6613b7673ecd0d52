import {
  type Answer,
  type Cell,
  type CommandContext,
  ExitCode,
  formatBytes,
  plural,
  printable,
  renderFacts,
  shortHash,
} from '@waypost/command-line';
import { HEADER_BYTES, INDEX_ENTRY_BYTES, type Manifest, openManifest } from '@waypost/contracts';
import { pinSession, withClient, withTransaction } from '@waypost/runtime';
import pg from 'pg';
import { type Coverage, describeCapture } from '../capture/capture.js';
import type { CheckedPlan } from '../plan/check-plan.js';
import { queryFault } from '../plan/query-fault.js';
import { describeExplanation } from '../plan/describe-explanation.js';
import { explainPlan, failsForAll } from '../plan/explain-plan.js';
import { canonicalTableQuery, castParameter } from '../plan/resolve-table.js';
import { resolveScope, type Scope } from '../scopes/resolve-scope.js';
import { buildSnapshot, type Snapshot, type TableSnapshot } from '../snapshots/build-snapshot.js';
import { describeCoverage } from './capture.js';
import { checkedPlan } from './checked-plan.js';
import { discardingStore } from './discarding-store.js';

/** What the device acknowledged last, by the manifests' order. $1: MAC */
const HELD = `
  SELECT m.document FROM waypost.sync_acknowledgements a JOIN waypost.manifests m USING (manifest_id)
  WHERE a.mac = $1 AND a.result = 'Success'
  ORDER BY (m.epoch = (SELECT value FROM waypost.central_state WHERE key = 'epoch')) DESC NULLS LAST, m.epoch DESC, m.sequence DESC
  LIMIT 1`;

/** `waypost plan check`: as `npm run plan:check`. */
export async function planCheck(context: CommandContext): Promise<Answer> {
  const { path, plan, tables, changes } = await context.database.run(async (pool) => {
    const { path, plan } = await checkedPlan(context, pool);
    return { path, plan, tables: await explainPlan(pool, plan), changes: await readCoverage(pool, plan) };
  });
  const scope = [...plan.scopeTypes].map(([name, type]) => `${name} ${type}`).join(', ');
  return {
    data: { plan: path, fits: true, schemaVersion: plan.schemaVersion, scope: Object.fromEntries(plan.scopeTypes), changes, tables },
    text: [
      context.paint('good', `${path} fits the database ${context.database.address}.`),
      '',
      `schemaVersion ${plan.schemaVersion}`,
      `scope gives   ${scope}`,
      ...(changes ? ['', 'changes: triggers', ...describeCoverage({ ...changes, wanted: true }, context.paint)] : []),
      '',
      ...tables.map(describeExplanation),
    ]
      .join('\n')
      .trimEnd(),
    exitCode: tables.some(failsForAll) ? ExitCode.finding : ExitCode.ok,
  };
}

/** Null where the plan does not ask for triggers. */
async function readCoverage(pool: pg.Pool, plan: CheckedPlan): Promise<Coverage | null> {
  if (plan.file.plan.changes !== 'triggers') return null;
  return withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => describeCapture(client, plan)));
}

interface Share {
  plan: CheckedPlan;
  scope: Scope;
  snapshot: Snapshot;
}

interface TableShare {
  name: string;
  rowCount: number;
  rawBytes: number;
  streamBytes: number;
  sha256: string;
  /** Compared with what the device acknowledged last: `same` is not downloaded. */
  compared: 'same' | 'changed' | 'new';
  parameters: string[];
  filter: string | null;
  query: string;
}

/** `waypost plan explain`: builds the device's share as a request would, and keeps nothing of it. */
export async function planExplain(context: CommandContext): Promise<Answer> {
  const mac = context.mac(context.subject);
  const { plan, scope, snapshot } = await context.database.run((pool) => readShare(context, pool, mac));
  const held = (await context.database.side()) === 'central' ? await findHeld(context, mac) : undefined;
  const tables = snapshot.tables.map((table) => scopeKeyOf(table, plan, scope, held));
  const removed = (held?.tables ?? []).map(({ name }) => name).filter((name) => !tables.some((table) => table.name === name));
  const sum = (of: (table: TableShare) => number): number => tables.reduce((total, table) => total + of(table), 0);
  const totals = {
    rowCount: sum(({ rowCount }) => rowCount),
    rawBytes: sum(({ rawBytes }) => rawBytes),
    downloadBytes: sum(({ compared, streamBytes }) => (compared === 'same' ? 0 : streamBytes)),
  };
  const parameters = [...scope].map(([name, value]) => ({ name, type: plan.scopeTypes.get(name) ?? 'text', value }));
  return {
    data: {
      mac,
      plan: plan.file.path,
      schemaVersion: plan.schemaVersion,
      scope: { query: plan.file.plan.scope.query.trim(), parameters },
      comparedWith: held ? { manifestId: held.manifestId, epoch: held.epoch, sequence: held.sequence } : null,
      ...totals,
      tables,
      noLongerInPlan: removed,
    },
    text: textOf(context, { mac, plan, parameters, held, tables, totals, removed }),
    exitCode: ExitCode.ok,
  };
}

async function readShare(context: CommandContext, pool: pg.Pool, mac: string): Promise<Share> {
  const { plan } = await checkedPlan(context, pool);
  return withClient(pool, (client) =>
    withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
      await pinSession(client);
      const scope = await resolveScope(client, plan, mac).catch((error: unknown) => {
        throw queryFault(error, 'scope query');
      });
      return { plan, scope, snapshot: await buildSnapshot(client, { plan, scope, store: discardingStore }) };
    }),
  );
}

async function findHeld(context: CommandContext, mac: string): Promise<Manifest | undefined> {
  const [row] = await context.database.query<{ document: unknown }>(HELD, [mac]);
  return row && openManifest(row.document);
}

function scopeKeyOf(snapshot: TableSnapshot, plan: CheckedPlan, scope: Scope, held: Manifest | undefined): TableShare {
  const { table, index } = snapshot;
  const { rowCount, rawBytes, frameBytes, sha256 } = index.totals();
  const before = held?.tables.find(({ name }) => name === table.name);
  return {
    name: table.name,
    rowCount,
    rawBytes,
    streamBytes: HEADER_BYTES + index.length * INDEX_ENTRY_BYTES + frameBytes,
    sha256,
    compared: !before ? 'new' : before.sha256 === sha256 && before.format === snapshot.format ? 'same' : 'changed',
    parameters: table.parameters,
    filter: table.where ?? null,
    // For people to read and to run; central binds the values and never pastes them.
    query: canonicalTableQuery(table, snapshot, (name) => literal(plan, scope, name)),
  };
}

function literal(plan: CheckedPlan, scope: Scope, name: string): string {
  const value = scope.get(name) ?? null;
  return castParameter(value === null ? 'NULL' : pg.escapeLiteral(value), plan.scopeTypes.get(name) as string);
}

interface Explained {
  mac: string;
  plan: CheckedPlan;
  parameters: readonly { name: string; type: string; value: string | null }[];
  held: Manifest | undefined;
  tables: readonly TableShare[];
  totals: { rowCount: number; rawBytes: number; downloadBytes: number };
  removed: readonly string[];
}

function textOf(context: CommandContext, { mac, plan, parameters, held, tables, totals, removed }: Explained): string {
  const { paint } = context;
  const tones = { same: 'dim', changed: 'warn', new: 'good' } as const;
  const changed = tables.filter(({ compared }) => compared !== 'same').length;
  return [
    paint(
      'strong',
      `Device ${mac} would get ${plural(totals.rowCount, 'row')} in ${plural(tables.length, 'table')}, ${formatBytes(totals.rawBytes)}.`,
    ),
    held
      ? `It holds manifest ${held.manifestId} (sequence ${held.sequence}): ${plural(changed, 'table')} to download, ${formatBytes(totals.downloadBytes)} on the wire.`
      : `It acknowledged nothing yet: ${formatBytes(totals.downloadBytes)} to download.`,
    ...(removed.length === 0 ? [] : [`No longer in the plan, and left as they are on the device: ${removed.join(', ')}`]),
    '',
    paint('strong', `Why: parameters from the scope query of ${plan.file.path}`),
    renderFacts(
      parameters.map(({ name, type, value }) => [`:${name}`, `${printable(value ?? 'NULL')} (${type})`]),
      paint,
    ),
    '',
    context.table(
      [
        { title: 'table' },
        { title: 'rows', align: 'right' },
        { title: 'bytes', align: 'right' },
        { title: 'on the wire', align: 'right' },
        { title: 'sha256' },
        { title: 'device' },
        { title: 'parameters' },
      ],
      tables.map((table): Cell[] => [
        table.name,
        table.rowCount,
        formatBytes(table.rawBytes),
        formatBytes(table.streamBytes),
        shortHash(table.sha256),
        { text: table.compared === 'same' ? 'has it' : table.compared, tone: tones[table.compared] },
        table.parameters.map((name) => `:${name}`).join(', ') || 'none: same for every device',
      ]),
    ),
    ...tables.flatMap(({ name, query }) => ['', paint('dim', `-- ${printable(name)}`), `${query.split('\n').map(printable).join('\n')};`]),
  ].join('\n');
}
