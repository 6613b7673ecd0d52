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
import { withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { findChangeCosts } from '../capture/change-costs.js';
import { type Coverage, describeCapture } from '../capture/capture.js';
import type { CheckedPlan } from '../plan/check-plan.js';
import { type ChangeCost, describeExplanation } from '../plan/describe-explanation.js';
import { explainPlan, failsForAll } from '../plan/explain-plan.js';
import { type DeviceShare, readDeviceShare } from '../read-models/device-share.js';
import { describeCoverage } from './capture.js';
import { checkedPlan } from './checked-plan.js';

/** `waypost plan check`: as `npm run plan:check`. */
export async function planCheck(context: CommandContext): Promise<Answer> {
  const { path, plan, tables, changes } = await context.database.run(async (pool) => {
    const { path, plan } = await checkedPlan(context, pool);
    const costs = await findChangeCosts(pool, plan);
    const explained = await explainPlan(pool, plan);
    const tables = explained.map((table) => ({ ...table, change: costs.get(table.name) as ChangeCost }));
    return { path, plan, tables, changes: await readCoverage(pool, plan) };
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
      ...tables.map((table) => describeExplanation(table, table.change)),
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

/** `waypost plan explain`: what a device would get now, and why. */
export async function planExplain(context: CommandContext): Promise<Answer> {
  const mac = context.mac(context.subject);
  const share = await context.database.run(async (pool) => {
    const { plan } = await checkedPlan(context, pool);
    const knowsAcks = (await context.database.side()) === 'central';
    return withClient(pool, (client) => readDeviceShare(client, plan, mac, knowsAcks));
  });
  return { data: share, text: textOf(context, share), exitCode: ExitCode.ok };
}

function textOf(context: CommandContext, share: DeviceShare): string {
  const { paint } = context;
  const { mac, plan, scope, comparedWith: held, tables, noLongerInPlan } = share;
  const tones = { same: 'dim', changed: 'warn', new: 'good' } as const;
  const changed = tables.filter(({ compared }) => compared !== 'same').length;
  return [
    paint(
      'strong',
      `Device ${mac} would get ${plural(share.rowCount, 'row')} in ${plural(tables.length, 'table')}, ${formatBytes(share.rawBytes)} uncompressed.`,
    ),
    held
      ? `It holds manifest ${held.manifestId} (sequence ${held.sequence}): ${plural(changed, 'table')} to download, ${formatBytes(share.downloadBytes)} compressed.`
      : `It acknowledged nothing yet: ${formatBytes(share.downloadBytes)} to download, compressed.`,
    ...(noLongerInPlan.length === 0 ? [] : [`No longer in the plan, and left as they are on the device: ${noLongerInPlan.join(', ')}`]),
    '',
    paint('strong', `Why: parameters from the scope query of ${plan}`),
    renderFacts(
      scope.parameters.map(({ name, type, value }) => [`:${name}`, `${printable(value ?? 'NULL')} (${type})`]),
      paint,
    ),
    '',
    context.table(
      [
        { title: 'table' },
        { title: 'rows', align: 'right' },
        { title: 'uncompressed', align: 'right' },
        { title: 'compressed', align: 'right' },
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
