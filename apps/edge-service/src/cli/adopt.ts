import { type Answer, type Cell, type CommandContext, ExitCode, formatTime, plural, printable } from '@waypost/command-line';
import { parseTableName, quoteTable, type TableIdentifier, WaypostError } from '@waypost/contracts';
import { queryOn, readDatabaseIdentity, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { isReservedSchema } from '../load/check-table-names.js';
import { listTables, type TableOwnership } from '../read-models/table-ownership.js';
import { recordOwnership } from '../state/record-ownership.js';
import { FIND_RELATIONS } from './adopt.sql.js';

/**
 * `waypost adopt [TABLE…]`: hands tables of a device over to Waypost, which then replaces their rows by central's; without an argument it lists
 * which tables are Waypost's. A table that does not exist yet may be handed over, too: the one that then bears the name is meant.
 */
export async function adopt(context: CommandContext): Promise<Answer> {
  const { database, args } = context;
  await database.mustBe('edge');
  const asked = args.map(parseName);
  const data = await database.run((pool) =>
    withClient(pool, (client) =>
      withTransaction(client, 'READ WRITE', async () => {
        const { identity } = await readDatabaseIdentity(queryOn(client));
        const adopted = await record(client, asked, identity);
        return { adopted, tables: await listTables(queryOn(client), identity) };
      }),
    ),
  );
  return { data, text: textOf(context, data.adopted, data.tables), exitCode: ExitCode.ok };
}

async function record(client: pg.ClientBase, asked: readonly TableIdentifier[], identity: string): Promise<string[]> {
  if (asked.length === 0) return [];
  const parameters = [asked.map(({ schema }) => schema), asked.map(({ table }) => table)];
  const found = await queryOn(client)<{ position: number; oid: string; kind: string }>(FIND_RELATIONS, parameters);
  const relations = asked.map(quoteTable);
  const noTables = found.filter(({ kind }) => kind !== 'r' && kind !== 'p').map(({ position }) => relations[position - 1]!);
  if (noTables.length > 0) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `${noTables.join(', ')}: not a table that Waypost can load.`,
      hint: 'Name ordinary or partitioned tables.',
    });
  }
  const oids = new Map(found.map(({ position, oid }) => [position - 1, Number(oid)]));
  const tables = relations.map((relation, at) => ({ relation, oid: oids.get(at) ?? null, how: 'adopted' as const }));
  await recordOwnership(client, tables, identity);
  return relations;
}

/** @throws WaypostError CONFIG_INVALID */
function parseName(text: string): TableIdentifier {
  let name: TableIdentifier;
  try {
    name = parseTableName(text);
  } catch (error) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: (error as Error).message,
      hint: 'Write tables as in SQL: users, sales.orders, \'"Odd Name"\'.',
    });
  }
  if (!isReservedSchema(name.schema)) return name;
  throw new WaypostError('CONFIG_INVALID', { detail: `${text} is Waypost's own table or PostgreSQL's.`, hint: 'Name tables of the plan.' });
}

function textOf(context: CommandContext, adopted: readonly string[], tables: readonly TableOwnership[]): string {
  const verdict =
    adopted.length > 0
      ? `${plural(adopted.length, 'table')} handed over: the next sync replaces their rows by central’s.`
      : `${plural(tables.filter(({ ours }) => ours).length, 'table')} of ${tables.length} are Waypost’s: it writes to no other.`;
  const rows = tables.map(({ name, exists, ours, how, since }): Cell[] => [
    printable(name),
    ours ? { text: 'Waypost’s', tone: 'good' } : 'the device’s',
    ours ? (exists ? how : `${how}, not there yet`) : how === null ? null : 'made again since it was Waypost’s',
    ours && since ? formatTime(since) : null,
  ]);
  return [verdict, '', context.table([{ title: 'table' }, { title: 'whose' }, { title: 'how' }, { title: 'since' }], rows)].join('\n');
}
