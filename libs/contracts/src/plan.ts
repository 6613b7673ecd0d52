import { z } from 'zod';
import { onReferencedSchema, onRemovedSchema } from './manifest.js';

/** A fraction, or `off`: as MAX_SHRINK of central has it. */
const maxShrinkSchema = z.union([z.literal('off'), z.number().gt(0).lte(1)]);

/** `mirror`: tables that a device creates get the secondary indexes of their source. `none`: they get their key alone. */
const indexesSchema = z.enum(['mirror', 'none']);

const planTableSchema = z.strictObject({
  /** As in SQL: `users`, `sales.orders`, `"Odd Schema"."Select"`. Manifests and APIs use the same spelling. */
  name: z
    .string()
    .min(1)
    // Acks use table names as keys of JSON objects, and JSON parsers drop this key for safety.
    .refine((name) => name !== '__proto__', { message: 'write it with its schema, public.__proto__: acks cannot name it otherwise' }),
  /** Names as in SQL. Default: all columns but generated ones. */
  columns: z.array(z.string().min(1)).min(1).optional(),
  /** Names as in SQL. Default: the primary key. */
  key: z.array(z.string().min(1)).min(1).optional(),
  /** A boolean SQL expression over the table's columns; `:name` stands for the scope's column of that name. Default: all rows. */
  where: z.string().min(1).optional(),
  /** What a device does with a row that left its share while rows of its own reference it. Default: `fail`. */
  onReferenced: onReferencedSchema.optional(),
  /** Which part of its rows the table may lose in one step without an operator's consent. Default: MAX_SHRINK of central. */
  maxShrink: maxShrinkSchema.optional(),
  /** Default: that of the plan. */
  indexes: indexesSchema.optional(),
});

/** The sync plan: what a device sees. docs/sync-plan.md explains it by example. */
export const planSchema = z.strictObject({
  version: z.literal(1),
  /** Devices configured for another schema version refuse the data. */
  schemaVersion: z.int().nonnegative(),
  scope: z.strictObject({
    /** Gives exactly one row for an active device; `:mac` stands for its MAC address. */
    query: z.string().min(1),
  }),
  /**
   * How central detects changes. `none`: by reading, for each request. `triggers`: from triggers on the tables that the plan reads
   * (waypost capture install), so that a device that is up to date costs almost nothing. Default: `none`.
   */
  changes: z.enum(['none', 'triggers']).optional(),
  /** Of tables that do not say it themselves. Default: `mirror`. */
  indexes: indexesSchema.optional(),
  /** What devices do with a table that is not in the plan any more. Default: `keep`. */
  onRemoved: onRemovedSchema.optional(),
  /** Parents first. */
  tables: z.array(planTableSchema).min(1),
});

export type Plan = z.infer<typeof planSchema>;
export type PlanTable = z.infer<typeof planTableSchema>;
