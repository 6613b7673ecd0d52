import { parseTableName, quoteIdentifier, quoteTable, type UserType } from '@waypost/contracts';
import { TypeCatalog } from '@waypost/runtime';
import pg from 'pg';
import { FIND_TYPES, QUOTE_LABELS } from './schema.sql.js';

/** How a local type differs from the manifest's. */
export interface TypeDifference {
  type: string;
  text: string;
  /** What adds the labels that an enum lacks here, where that makes it the manifest's: nothing is lost by it. */
  added: NewLabel[];
}

export interface NewLabel {
  /** By the manifest's name. */
  type: string;
  label: string;
  /** Where it goes; undefined where the enum has no label yet. */
  place: { before: string } | { after: string } | undefined;
}

/** How local types differ from the manifest's. Missing ones do not count: they can be created, or are named as missing. */
export async function checkTypes(client: pg.ClientBase, types: readonly UserType[]): Promise<TypeDifference[]> {
  const local = await findTypes(client, types);
  return types.flatMap((type) => {
    const found = local.get(type.name);
    if (!found || type.kind === 'external') return [];
    if (found.kind !== type.kind) return [{ type: type.name, text: `${type.name} is not ${article(type.kind)} type here`, added: [] }];
    const [here, there] = [found, type].map(describe);
    if (here === there) return [];
    const added = type.kind === 'enum' && found.kind === 'enum' ? addedLabels(type.name, found.labels, type.labels) : [];
    return [{ type: type.name, text: `the ${type.kind} type ${type.name} has ${here} here, ${there} in the manifest`, added }];
  });
}

/** The labels that are missing here, in the order of their adding; none where labels were renamed, removed or moved. */
function addedLabels(type: string, here: readonly string[], there: readonly string[]): NewLabel[] {
  const isHere = new Set(here);
  if (there.filter((label) => isHere.has(label)).join('\0') !== here.join('\0')) return [];
  return there.flatMap((label, at) => {
    if (isHere.has(label)) return [];
    const [after, before] = [there[at - 1], here[0]];
    return [{ type, label, place: after !== undefined ? { after } : before !== undefined ? { before } : undefined }];
  });
}

export function addLabelStatement({ type, label, place }: NewLabel): string {
  const where =
    place === undefined ? '' : 'after' in place ? ` AFTER ${pg.escapeLiteral(place.after)}` : ` BEFORE ${pg.escapeLiteral(place.before)}`;
  return `ALTER TYPE ${quoteTable(parseTableName(type))} ADD VALUE ${pg.escapeLiteral(label)}${where}`;
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
