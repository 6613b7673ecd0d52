import { parseTableName, quoteIdentifier, quoteTable, type UserType } from '@waypost/contracts';
import { TypeCatalog } from '@waypost/runtime';
import type pg from 'pg';
import { FIND_TYPES, QUOTE_LABELS } from './catalog.sql.js';

/** How local types differ from the manifest's, in words. Missing ones do not count: they can be created, or are named as missing. */
export async function checkTypes(client: pg.ClientBase, types: readonly UserType[]): Promise<string[]> {
  const local = await findTypes(client, types);
  return types.flatMap((type) => {
    const found = local.get(type.name);
    if (!found || type.kind === 'external') return [];
    if (found.kind !== type.kind) return [`${type.name} is not ${article(type.kind)} type here`];
    const [here, there] = [found, type].map(describe);
    if (here === there) return [];
    const added = type.kind === 'enum' && found.kind === 'enum' ? addedLabels(type.name, found.labels, type.labels) : [];
    const remedy = added.length > 0 ? ` (run ${added.join('; ')})` : '';
    return [`the ${type.kind} type ${type.name} has ${here} here, ${there} in the manifest${remedy}`];
  });
}

/** Statements that add the labels which are missing here; none where labels were renamed, removed or moved. */
function addedLabels(name: string, here: readonly string[], there: readonly string[]): string[] {
  const isHere = new Set(here);
  if (there.filter((label) => isHere.has(label)).join('\0') !== here.join('\0')) return [];
  return there.flatMap((label, at) => {
    if (isHere.has(label)) return [];
    const before = there[at - 1];
    const place = before === undefined ? (here[0] === undefined ? '' : ` BEFORE ${quoteLabel(here[0])}`) : ` AFTER ${quoteLabel(before)}`;
    return [`ALTER TYPE ${name} ADD VALUE ${quoteLabel(label)}${place}`];
  });
}

function quoteLabel(label: string): string {
  return `'${label.replaceAll("'", "''")}'`;
}

/** Creates the manifest's types that are missing, in its order. External ones are left out. */
export async function createTypes(
  client: pg.ClientBase,
  types: readonly UserType[],
  checkNames: (names: string[]) => Promise<unknown>,
): Promise<void> {
  const local = await findTypes(client, types);
  for (const type of types) {
    if (local.has(type.name) || type.kind === 'external') continue;
    // Only what PostgreSQL itself takes for a type's name may stand in SQL text.
    await checkNames(namesWithin(type));
    await client.query(await createStatement(client, type));
  }
}

/** The types that a type is made of, as SQL names them. */
export function namesWithin(type: UserType): string[] {
  if (type.kind === 'domain') return [type.base];
  if (type.kind === 'range') return [type.subtype];
  return type.kind === 'composite' ? type.attributes.map((attribute) => attribute.type) : [];
}

/** What these types are called in a column, once they are made. */
export function namesOf(types: readonly UserType[]): Set<string> {
  const names = types.flatMap((type) =>
    type.kind === 'external' ? [] : type.kind === 'range' ? [type.name, type.multirange] : [type.name],
  );
  return new Set(names.flatMap((name) => [name, `${name}[]`]));
}

async function createStatement(client: pg.ClientBase, type: Exclude<UserType, { kind: 'external' }>): Promise<string> {
  const name = quoteTable(parseTableName(type.name));
  switch (type.kind) {
    case 'enum': {
      // CREATE TYPE takes no parameters: PostgreSQL itself quotes the labels.
      const { rows } = await client.query<{ list: string }>(QUOTE_LABELS, [type.labels]);
      return `CREATE TYPE ${name} AS ENUM (${rows[0]?.list ?? ''})`;
    }
    case 'domain':
      return `CREATE DOMAIN ${name} AS ${type.base}`;
    case 'composite':
      return `CREATE TYPE ${name} AS (${type.attributes.map((attribute) => `${quoteIdentifier(attribute.name)} ${attribute.type}`).join(', ')})`;
    case 'range':
      return `CREATE TYPE ${name} AS RANGE (subtype = ${type.subtype}, multirange_type_name = ${quoteTable(parseTableName(type.multirange))})`;
  }
}

/** By the manifest's name. */
async function findTypes(client: pg.ClientBase, types: readonly UserType[]): Promise<Map<string, UserType>> {
  if (types.length === 0) return new Map();
  const names = types.map(({ name }) => parseTableName(name));
  const parameters = [names.map(({ schema }) => schema), names.map(({ table }) => table)];
  const { rows } = await client.query<{ oid: string; position: string }>(FIND_TYPES, parameters);
  const oids = rows.map(({ oid }) => Number(oid));
  const catalog = await TypeCatalog.read(client, oids);
  return new Map(rows.map(({ position }, at) => [types[Number(position) - 1]!.name, catalog.definitionOf(oids[at]!)!]));
}

function describe(type: UserType): string {
  switch (type.kind) {
    case 'enum':
      return `the labels ${type.labels.join(', ')}`;
    case 'domain':
      return `the base type ${type.base}`;
    case 'composite':
      return `the attributes ${type.attributes.map((attribute) => `${attribute.name} ${attribute.type}`).join(', ')}`;
    case 'range':
      return `the subtype ${type.subtype} and the multirange ${type.multirange}`;
    case 'external':
      return type.statement;
  }
}

function article(kind: string): string {
  return `${kind === 'enum' ? 'an' : 'a'} ${kind}`;
}
