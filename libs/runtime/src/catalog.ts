import { type EnumType, type ManifestColumn, quoteTable, type RowFormat, type TableIdentifier } from '@waypost/contracts';
import type pg from 'pg';

export interface CatalogColumn extends ManifestColumn {
  /** `GENERATED ALWAYS AS (…)`: computed by PostgreSQL, cannot be loaded. */
  generated: boolean;
  collatable: boolean;
  /** `GENERATED ALWAYS AS IDENTITY`: can be inserted, never updated. */
  identityAlways: boolean;
  typeOid: number;
}

/** A table or view as PostgreSQL's catalog has it. */
export interface CatalogTable extends TableIdentifier {
  oid: number;
  kind: 'table' | 'partitioned' | 'view' | 'materialized view' | 'foreign' | 'other';
  persistence: 'permanent' | 'unlogged' | 'temporary';
  rowSecurity: boolean;
  /** In the table's order, dropped ones left out. */
  columns: CatalogColumn[];
  /** Empty without a primary key. */
  primaryKey: string[];
}

interface CatalogType {
  oid: number;
  name: string;
  typtype: string;
  elementOid: number;
  baseOid: number;
  hasSend: boolean;
  labels: string[] | null;
}

/** int8 comes as text. */
type TypeRow = Omit<CatalogType, 'oid' | 'elementOid' | 'baseOid'> & { oid: string; elementOid: string; baseOid: string };

interface TableRow extends TableIdentifier {
  oid: string;
  kind: string;
  persistence: string;
  row_security: boolean;
  columns: CatalogColumn[];
  primary_key: string[];
}

/** Object ids below this belong to PostgreSQL itself and are the same on every server. */
const FIRST_USER_OID = 16384;
/** pg_type.typname of types whose binary form is an object id of this very server. */
const OID_TYPES = /^reg(class|proc|procedure|oper|operator|type|role|namespace|config|dictionary|collation)$/;

const KINDS: Record<string, CatalogTable['kind']> = {
  r: 'table',
  p: 'partitioned',
  v: 'view',
  m: 'materialized view',
  f: 'foreign',
};

const DESCRIBE_TABLES = `
  SELECT c.oid::int8::text AS oid, n.nspname AS schema, c.relname AS "table", c.relkind AS kind, c.relpersistence AS persistence,
         c.relrowsecurity AS row_security,
         coalesce((SELECT json_agg(json_build_object(
                     'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'notNull', a.attnotnull,
                     'generated', a.attgenerated <> '', 'collatable', a.attcollation <> 0, 'identityAlways', a.attidentity = 'a', 'typeOid', a.atttypid::int8) ORDER BY a.attnum)
                   FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]') AS columns,
         coalesce((SELECT json_agg(a.attname ORDER BY k.position)
                   FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, position), pg_attribute a
                   WHERE i.indrelid = c.oid AND i.indisprimary AND k.position <= i.indnkeyatts
                     AND a.attrelid = c.oid AND a.attnum = k.attnum), '[]') AS primary_key
  FROM unnest($1::text[], $2::text[]) AS wanted(schema, "table")
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted."table" AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`;

const DESCRIBE_TYPES = `
  WITH RECURSIVE needed(oid) AS (
    SELECT unnest($1::oid[])
    UNION
    SELECT part.oid FROM needed JOIN pg_type t ON t.oid = needed.oid,
    LATERAL (SELECT t.typelem WHERE t.typelem <> 0 AND t.typcategory = 'A' UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0) AS part(oid)
  )
  SELECT t.oid::int8 AS oid, format_type(t.oid, NULL) AS name, t.typtype,
         CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END::int8 AS "elementOid", t.typbasetype::int8 AS "baseOid",
         t.typsend <> 0 AS "hasSend",
         (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels
  FROM needed JOIN pg_type t USING (oid)
  ORDER BY t.oid`;

/**
 * Describes tables in the transaction under way, where they exist. Leaves search_path at pg_catalog, so that every other type is printed
 * with its schema: pin the session again before rows are read.
 * @returns by quoteTable name
 */
export async function describeTables(client: pg.ClientBase, tables: readonly TableIdentifier[]): Promise<Map<string, CatalogTable>> {
  await client.query('SET LOCAL search_path = pg_catalog');
  const { rows } = await client.query<TableRow>(DESCRIBE_TABLES, [tables.map((t) => t.schema), tables.map((t) => t.table)]);
  const described = rows.map((row): CatalogTable => ({
    oid: Number(row.oid),
    schema: row.schema,
    table: row.table,
    kind: KINDS[row.kind] ?? 'other',
    persistence: row.persistence === 'u' ? 'unlogged' : row.persistence === 't' ? 'temporary' : 'permanent',
    rowSecurity: row.row_security,
    columns: row.columns,
    primaryKey: row.primary_key,
  }));
  return new Map(described.map((table) => [quoteTable(table), table]));
}

/** The types of columns, with all that they are made of. */
export class TypeCatalog {
  private constructor(private readonly types: ReadonlyMap<number, CatalogType>) {}

  /** As describeTables: call it in the same transaction, right after it. */
  static async read(client: pg.ClientBase, columns: readonly CatalogColumn[]): Promise<TypeCatalog> {
    const { rows } = await client.query<TypeRow>(DESCRIBE_TYPES, [[...new Set(columns.map((column) => column.typeOid))]]);
    return new TypeCatalog(
      new Map(
        rows.map((row) => [
          Number(row.oid),
          { ...row, oid: Number(row.oid), elementOid: Number(row.elementOid), baseOid: Number(row.baseOid) },
        ]),
      ),
    );
  }

  /** Binary, unless a column's binary form would carry object ids that differ from server to server. */
  formatFor(columns: readonly CatalogColumn[]): RowFormat {
    return columns.some((column) => this.carriesOids(column.typeOid)) ? 'text' : 'binary';
  }

  /** The enum types among the columns' types and their parts. */
  enums(columns: readonly CatalogColumn[]): EnumType[] {
    const found = new Map<number, EnumType>();
    for (const column of columns) {
      for (const type of this.partsOf(column.typeOid)) {
        if (type.typtype === 'e') found.set(type.oid, { name: type.name, kind: 'enum', labels: type.labels ?? [] });
      }
    }
    return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  private *partsOf(oid: number): Generator<CatalogType> {
    const type = this.types.get(oid);
    if (!type) return;
    yield type;
    if (type.elementOid) yield* this.partsOf(type.elementOid);
    if (type.baseOid) yield* this.partsOf(type.baseOid);
  }

  private carriesOids(oid: number): boolean {
    for (const type of this.partsOf(oid)) {
      const ofUser = type.oid >= FIRST_USER_OID;
      if (!type.hasSend || OID_TYPES.test(type.name)) return true;
      if (type.typtype === 'c' || (ofUser && (type.typtype === 'r' || type.typtype === 'm'))) return true;
      if (type.elementOid >= FIRST_USER_OID) return true;
    }
    return false;
  }
}
