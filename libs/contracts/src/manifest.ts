import { z } from 'zod';
import { canonicalJson } from './canonical-json.js';
import { WaypostError } from './errors.js';
import { sha256Hex } from './hashes.js';

export const sha256HexSchema = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hex digits');
export const ulidSchema = z.string().regex(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/, 'must be a ULID');
const countSchema = z.int().nonnegative();

/** What is beyond these stays at central. */
export const MAX_TABLE_INDEXES = 64;
export const MAX_EXPRESSION_LENGTH = 4096;
export const MAX_DEFAULT_LENGTH = 1024;

const columnSchema = z.object({
  /** As the catalog spells it, without quotes. */
  name: z.string().min(1),
  /** As `format_type` prints it; types outside of pg_catalog with their schema. */
  type: z.string().min(1),
  notNull: z.boolean(),
});

/** `fail`: the sync fails and names the row. `keep`: the row stays until nothing references it. */
export const onReferencedSchema = z.enum(['fail', 'keep']);

/** What becomes of a table on the device that left the plan. `drop`: of those that the device's Waypost created. */
export const onRemovedSchema = z.enum(['keep', 'drop']);

/** Names and types as `format_type` prints them: quoted where SQL needs it, with their schema where it is not pg_catalog. */
const typeNameSchema = z.string().min(1);

const userTypeSchema = z.discriminatedUnion('kind', [
  z.object({ name: typeNameSchema, kind: z.literal('enum'), /** In the enum's order. */ labels: z.array(z.string()) }),
  /** Its constraints stay at central: its rows have passed them. */
  z.object({ name: typeNameSchema, kind: z.literal('domain'), base: typeNameSchema }),
  z.object({
    name: typeNameSchema,
    kind: z.literal('composite'),
    attributes: z.array(z.object({ name: z.string().min(1), type: typeNameSchema })),
  }),
  /** With the subtype's own order. */
  z.object({ name: typeNameSchema, kind: z.literal('range'), subtype: typeNameSchema, multirange: typeNameSchema }),
  /** Made by an extension, or in a way that a device does not repeat. `statement` is for its operator; it is never run. */
  z.object({ name: typeNameSchema, kind: z.literal('external'), statement: z.string() }),
]);

const identifierSchema = z.string().min(1).max(256);
/** SQL as pg_get_expr prints it with search_path at pg_catalog. A device checks it before it stands in a statement. */
const expressionSchema = z.string().min(1).max(MAX_EXPRESSION_LENGTH);

const indexKeySchema = z
  .object({
    /** As the catalog spells it, without quotes. Either this or `expression`. */
    column: identifierSchema.optional(),
    expression: expressionSchema.optional(),
    /** One of PostgreSQL's own. */
    operatorClass: identifierSchema,
    /** One of PostgreSQL's own, where it is not that of the column or expression. */
    collation: identifierSchema.optional(),
    descending: z.literal(true).optional(),
    /** Where it is not the default of the direction. */
    nulls: z.enum(['first', 'last']).optional(),
  })
  .refine(({ column, expression }) => (column === undefined) !== (expression === undefined), {
    message: 'must have a column or an expression',
  });

/** A secondary index of the source table. It serves reading alone: devices make a plain one of a unique one. */
const tableIndexSchema = z.object({
  /** At central. */
  name: identifierSchema,
  /** Access method. */
  method: identifierSchema,
  keys: z.array(indexKeySchema).min(1).max(32),
  /** Columns beside the keys. */
  include: z.array(identifierSchema).min(1).max(32).optional(),
  /** Of a partial index. */
  predicate: expressionSchema.optional(),
});

/** What rows that were there before a column have in it, where they all have the same. */
const columnDefaultSchema = z.object({
  /** As the catalog spells it, without quotes. */
  column: identifierSchema,
  /** As text. A device quotes it and casts it to the column's type: it is never SQL. */
  value: z.string().max(MAX_DEFAULT_LENGTH),
});

export const manifestTableSchema = z.object({
  /** Spelled as in the plan. */
  name: z.string().min(1),
  rowCount: countSchema,
  /** Over the chunk digests in key order. */
  sha256: sha256HexSchema,
  format: z.enum(['binary', 'text']),
  /** In the order in which the canonical rows hold them. */
  columns: z.array(columnSchema).min(1),
  /** Names of the key's columns, in key order. */
  key: z.array(z.string()).min(1),
  /** What happens to a row that left the device's share while rows of the device's own reference it; `fail` where it is absent. */
  onReferenced: onReferencedSchema.optional(),
  /** Constant defaults of columns at the source; absent where there are none. They tell a device how to add a column without fetching its rows. */
  defaults: z.array(columnDefaultSchema).min(1).optional(),
  /** Names the table's shape: as long as it is the same, columns, types, key and defaults are. */
  shape: sha256HexSchema.optional(),
  /** What a device makes beside the key of a table that it creates; absent where there is none. */
  indexes: z.array(tableIndexSchema).min(1).max(MAX_TABLE_INDEXES).optional(),
  /** Length of the canonical rows. */
  rawBytes: countSchema,
  /** Length of the chunk stream as it is downloaded. */
  streamBytes: countSchema,
});

/** What one device should hold, and how to prove it. `sha256` covers all other fields. */
export const manifestSchema = z.object({
  manifestId: ulidSchema,
  generatedAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  schemaVersion: z.int().nonnegative(),
  /** Changes when central's database was restored or replaced; sequences compare only within one epoch. */
  epoch: z.string().min(1).max(64),
  /** Grows with each manifest of an epoch. */
  sequence: z.int().positive(),
  device: z.object({
    mac: z.string(),
    /** The scope's `device_id`, where it gives one. */
    id: z.string().nullable(),
  }),
  /** The scope's parameters, as PostgreSQL prints them. */
  filters: z.record(z.string(), z.string().nullable()),
  /** User-defined types that the tables' columns need, in the order of their making. */
  types: z.array(userTypeSchema),
  /** Parents first, as in the plan. */
  tables: z.array(manifestTableSchema),
  /** `keep` where it is absent. */
  onRemoved: onRemovedSchema.optional(),
  sha256: sha256HexSchema,
});

export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestTable = z.infer<typeof manifestTableSchema>;
export type ManifestColumn = z.infer<typeof columnSchema>;
export type ColumnDefault = z.infer<typeof columnDefaultSchema>;
export type TableIndex = z.infer<typeof tableIndexSchema>;
export type IndexKey = z.infer<typeof indexKeySchema>;
export type UserType = z.infer<typeof userTypeSchema>;

/** A fingerprint of what a table looks like: SHA-256 over the RFC 8785 form of columns, key, format and, where there are any, defaults. */
export function shapeFingerprint({
  columns,
  key,
  format,
  defaults,
}: Pick<ManifestTable, 'columns' | 'key' | 'format' | 'defaults'>): string {
  return sha256Hex(canonicalJson({ columns, key, format, ...(defaults && { defaults }) }));
}

/** SHA-256 over the RFC 8785 form of all fields but `sha256`. */
export function manifestSha256(manifest: Omit<Manifest, 'sha256'>): string {
  return sha256Hex(canonicalJson({ ...manifest, sha256: undefined }));
}

/** Completes a manifest with its hash. */
export function sealManifest(manifest: Omit<Manifest, 'sha256'>): Manifest {
  return { ...manifest, sha256: manifestSha256(manifest) };
}

/**
 * Checks the form and the hash of a received manifest. The hash covers all received fields, also those that this version
 * does not know, so that nothing can be added or exchanged unnoticed.
 * @throws WaypostError MANIFEST_INVALID
 */
export function openManifest(received: unknown): Manifest {
  const parsed = manifestSchema.safeParse(received);
  if (!parsed.success)
    throw new WaypostError('MANIFEST_INVALID', { detail: `The manifest is malformed: ${z.prettifyError(parsed.error)}` });
  const actual = hashOf(received as Manifest);
  if (actual !== parsed.data.sha256) {
    throw new WaypostError('MANIFEST_INVALID', { detail: `The manifest says sha256 ${parsed.data.sha256}, its fields give ${actual}.` });
  }
  const names = new Set(parsed.data.tables.map((table) => table.name));
  if (names.size !== parsed.data.tables.length) throw new WaypostError('MANIFEST_INVALID', { detail: 'The manifest names a table twice.' });
  for (const table of parsed.data.tables) {
    const columns = new Set(table.columns.map((column) => column.name));
    if (columns.size !== table.columns.length || table.key.some((name) => !columns.has(name))) {
      throw new WaypostError('MANIFEST_INVALID', {
        detail: `The manifest's columns of ${table.name} are not distinct or lack a key column.`,
      });
    }
  }
  // As received: without the members that this version does not know, its hash would no longer match.
  return received as Manifest;
}

/** @throws WaypostError MANIFEST_INVALID when it has no canonical form: unknown members may hold any JSON value */
function hashOf(received: Manifest): string {
  try {
    return manifestSha256(received);
  } catch (cause) {
    throw new WaypostError('MANIFEST_INVALID', { detail: `The manifest has no canonical form: ${(cause as Error).message}`, cause });
  }
}

/** Positions of a table's key columns among its columns, in key order. */
export function keyFieldsOf(table: { columns: readonly { name: string }[]; key: readonly string[] }): number[] {
  return table.key.map((key) => table.columns.findIndex((column) => column.name === key));
}
