import { type Answer, type CommandContext, ExitCode, formatCount, formatSpan, plural, printable } from '@waypost/command-line';
import { parseTableName, quoteTable, WaypostError } from '@waypost/contracts';
import { findHeldTables, type HeldTable, releaseTables } from '../read-models/held-tables.js';
import { operator, write } from './write.js';

/**
 * `waypost release`: which tables are held back from which devices; exits with 1 where there are any. `waypost release TABLE --mac MAC | --all` consents to
 * the loss as it is now: the next request of each device passes if no more rows are gone by then.
 */
export async function release(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const [table] = context.args;
  const mac = context.option('mac');
  if (table === undefined) {
    if (mac !== undefined || context.flag('all')) throw usage('Name the table that is to be released.');
    return list(context);
  }
  if ((mac === undefined) === !context.flag('all')) throw usage('Say for which devices: either --mac MAC, or --all.');
  return confirm(context, table, mac === undefined ? null : context.mac(mac));
}

async function list(context: CommandContext): Promise<Answer> {
  const held = await findHeldTables(context.database.query);
  const devices = new Set(held.map(({ mac }) => mac)).size;
  const text =
    held.length === 0
      ? context.paint('good', 'Nothing is held back.')
      : [
          context.paint('bad', `${plural(devices, 'device')} held back: tables of their shares lost more rows than MAX_SHRINK allows.`),
          tableOf(context, held),
          'If the rows are meant to go: waypost release TABLE --mac MAC, or --all. If not, restore them at central: devices then go on by themselves.',
        ].join('\n');
  return { data: { held }, text, exitCode: held.length === 0 ? ExitCode.ok : ExitCode.finding };
}

async function confirm(context: CommandContext, table: string, mac: string | null): Promise<Answer> {
  const wanted = quoteTable(parseTableName(table));
  const names = new Set(
    (await findHeldTables(context.database.query)).map((held) => held.table).filter((name) => quoteTable(parseTableName(name)) === wanted),
  );
  const released = names.size === 0 ? [] : await update(context, [...names], mac);
  const text =
    released.length === 0
      ? `Nothing of ${printable(table)} is held back${mac === null ? '' : ` from ${mac}`}: waypost release lists what is.`
      : [
          context.paint('good', `${plural(released.length, 'device')} released: the next request of each passes with at least these rows.`),
          tableOf(context, released),
        ].join('\n');
  return { data: { released }, text, exitCode: released.length === 0 ? ExitCode.finding : ExitCode.ok };
}

function update(context: CommandContext, names: readonly string[], mac: string | null): Promise<HeldTable[]> {
  return write(context, 'held_shrinks', (query) => releaseTables(query, names, mac, operator()));
}

function tableOf(context: CommandContext, held: readonly HeldTable[]): string {
  return context.table(
    [
      { title: 'device' },
      { title: 'table', elastic: true },
      { title: 'rows before', align: 'right' },
      { title: 'rows now', align: 'right' },
      { title: 'held for', align: 'right' },
    ],
    held.map(({ mac, table, rowsBefore, rowsNow, heldForMs }) => [
      mac,
      table,
      formatCount(rowsBefore),
      formatCount(rowsNow),
      formatSpan(heldForMs),
    ]),
  );
}

function usage(detail: string): WaypostError {
  return new WaypostError('CONFIG_INVALID', {
    detail,
    hint: 'waypost release orders --mac 48:b0:2d:e9:c3:b7, or waypost release orders --all',
  });
}
