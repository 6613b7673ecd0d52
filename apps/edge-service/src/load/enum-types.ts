import { type EnumType, parseTableName, quoteTable } from '@waypost/contracts';
import type pg from 'pg';
import { FIND_TYPES, QUOTE_LABELS } from './catalog.sql.js';

interface LocalType {
  typtype: string;
  labels: string[];
}

/** How local types differ from the manifest's enums, in words. Missing ones do not count: they can be created. */
export async function checkEnums(client: pg.ClientBase, types: readonly EnumType[]): Promise<string[]> {
  const local = await findTypes(client, types);
  return types.flatMap(({ name, labels }) => {
    const found = local.get(quoteTable(parseTableName(name)));
    if (!found) return [];
    if (found.typtype !== 'e') return [`${name} is not an enum type here`];
    const same = found.labels.length === labels.length && found.labels.every((label, at) => label === labels[at]);
    return same ? [] : [`the enum type ${name} has the labels ${found.labels.join(', ')} here, ${labels.join(', ')} in the manifest`];
  });
}

/** Creates the manifest's enums that are missing. */
export async function createEnums(client: pg.ClientBase, types: readonly EnumType[]): Promise<void> {
  const local = await findTypes(client, types);
  for (const { name, labels } of types) {
    const quoted = quoteTable(parseTableName(name));
    // CREATE TYPE takes no parameters: PostgreSQL itself quotes the labels.
    if (local.has(quoted)) continue;
    const { rows } = await client.query<{ list: string }>(QUOTE_LABELS, [labels]);
    await client.query(`CREATE TYPE ${quoted} AS ENUM (${rows[0]?.list ?? ''})`);
  }
}

async function findTypes(client: pg.ClientBase, types: readonly EnumType[]): Promise<Map<string, LocalType>> {
  if (types.length === 0) return new Map();
  const names = types.map(({ name }) => parseTableName(name));
  const { rows } = await client.query<LocalType & { schema: string; name: string }>(FIND_TYPES, [
    names.map(({ schema }) => schema),
    names.map(({ table }) => table),
  ]);
  return new Map(rows.map((row) => [quoteTable({ schema: row.schema, table: row.name }), { typtype: row.typtype, labels: row.labels }]));
}
