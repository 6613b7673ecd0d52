import { type TableShape, WaypostError } from '@waypost/contracts';
import { queryPrepared, type CatalogTable } from '@waypost/runtime';
import type pg from 'pg';
import { FIND_REFERENCES } from './catalog.sql.js';

/** A foreign key onto a mirrored table, or onto a partition of one. */
export interface LocalReference {
  oid: string;
  constraint: string;
  /** The mirrored table that is referenced, by the manifest's name. */
  to: string;
  /** The mirrored table that references it; undefined for a table outside of the mirror. */
  from: string | undefined;
  /** The referencing table as SQL names it. */
  fromTable: string;
  /** ON DELETE does more than to refuse at the statement's end: CASCADE, SET NULL, SET DEFAULT, RESTRICT. */
  actsOnDelete: boolean;
  /** The same for ON UPDATE. */
  actsOnUpdate: boolean;
  /** The referenced columns. */
  columns: string[];
  /** SQL condition: the row `f` of the referencing table references the row `t`. */
  match: string;
  /** SQL condition: the referenced values of rows `l` and `a` are equal. */
  equal: string;
}

interface ReferenceRow extends Omit<LocalReference, 'to' | 'from'> {
  fromOid: string;
  toOid: string;
}

export async function findReferences(client: pg.ClientBase, tables: ReadonlyMap<string, CatalogTable>): Promise<LocalReference[]> {
  const names = new Map([...tables].map(([name, { oid }]) => [oid, name]));
  const rows = await queryPrepared<ReferenceRow>(client, 'references', FIND_REFERENCES, [[...names.keys()]]);
  return rows.map(({ fromOid, toOid, ...row }) => ({
    ...row,
    to: names.get(Number(toOid)) as string,
    from: names.get(Number(fromOid)),
  }));
}

/**
 * The tables to load: those that changed, and those that reference one of them here, since PostgreSQL truncates a referenced table only
 * together with all that reference it. In the manifest's order.
 * @throws WaypostError LOCAL_REFERENCE when a table outside of the mirror references one of them: its rows are not ours to remove
 */
export function withReferencing<Table extends TableShape>(
  tables: readonly Table[],
  changed: ReadonlySet<string>,
  references: readonly LocalReference[],
): Table[] {
  const all = new Set(changed);
  for (const name of all) {
    for (const { to, from, fromTable, constraint } of references) {
      if (to !== name) continue;
      if (from !== undefined) all.add(from);
      else throw new WaypostError('LOCAL_REFERENCE', { detail: `${fromTable} references ${to} by its constraint ${constraint}.` });
    }
  }
  return tables.filter(({ name }) => all.has(name));
}
