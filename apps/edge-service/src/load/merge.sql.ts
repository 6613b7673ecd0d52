import { parseTableName, quoteIdentifier, quoteTable } from '@waypost/contracts';
import type { MergedTable } from './merged-table.js';
import { isNotRetained, RETAINED_ROWS, keyText } from '../state/retained-rows.js';

/** The manifest's rows of a table, in key order. */
export const stagedRows = ({ position }: MergedTable): string => `pg_temp.waypost_rows_${position}`;
/**
 * What differs: `old` is the row's place in the mirror (`part`: in which partition), `new` its place among the staged rows, null where there is
 * none. `referenced_by` names the reference for which an old row without a new one is retained.
 */
export const differences = ({ position }: MergedTable): string => `pg_temp.waypost_differences_${position}`;

/** Keys of the rows that have gone, where only what changed is staged. */
export const goneKeys = ({ position }: MergedTable): string => `pg_temp.waypost_gone_${position}`;

const OLD_ROW = 't.tableoid = d.part AND t.ctid = d.old';
const LEAVES = `d.new IS NULL AND d.referenced_by IS NULL AND ${OLD_ROW}`;

/** The local table in FROM, UPDATE and DELETE. Rows of inheriting tables are not the mirror's: they fail verification rather than vanish. */
function mirror({ table, local }: MergedTable): string {
  return `${local.kind === 'table' ? 'ONLY ' : ''}${quoteTable(parseTableName(table.name))}`;
}

function columnList({ table }: MergedTable, alias?: string): string {
  return table.columns.map(({ name }) => `${alias ? `${alias}.` : ''}${quoteIdentifier(name)}`).join(', ');
}

/** Types and collations as the mirror has them, without its constraints. */
export function createStagedRows(merged: MergedTable): string {
  const name = stagedRows(merged).replace('pg_temp.', '');
  return `CREATE TEMPORARY TABLE ${name} ON COMMIT DROP AS SELECT ${columnList(merged)} FROM ${mirror(merged)} WITH NO DATA`;
}

export function copyIntoStagedRows(merged: MergedTable): string {
  return `COPY ${stagedRows(merged)} (${columnList(merged)}) FROM STDIN (FORMAT ${merged.table.format}, FREEZE)`;
}

/** Staged rows are joined by their keys: to analyze the other ones of 100,000 rows of 12 columns, too, took 310 ms in place of 75. */
export function analyzeStagedRows(merged: MergedTable): string {
  return `ANALYZE ${stagedRows(merged)} (${keyList(merged)})`;
}

/** A key that was staged more than once. */
export function findStagedTwice(merged: MergedTable): string {
  return `SELECT FROM ${stagedRows(merged)} GROUP BY ${keyList(merged)} HAVING count(*) > 1 LIMIT 1`;
}

/** As createStagedRows. */
export function createGoneKeys(merged: MergedTable): string {
  const name = goneKeys(merged).replace('pg_temp.', '');
  return `CREATE TEMPORARY TABLE ${name} ON COMMIT DROP AS SELECT ${keyList(merged)} FROM ${mirror(merged)} WITH NO DATA`;
}

export function copyIntoGoneKeys(merged: MergedTable): string {
  return `COPY ${goneKeys(merged)} (${keyList(merged)}) FROM STDIN (FORMAT ${merged.table.format}, FREEZE)`;
}

function keyList({ table }: MergedTable): string {
  return table.key.map(quoteIdentifier).join(', ');
}

function matchKeys({ table, equality }: MergedTable, one: string, other: string): string {
  return table.key.map((name) => `${one}.${quoteIdentifier(name)} ${equality.get(name)} ${other}.${quoteIdentifier(name)}`).join(' AND ');
}

/** Where no unique index guards the key, a row may be there twice. */
export function deleteRepeatedKeys(merged: MergedTable): string {
  const key = merged.table.key.map(quoteIdentifier).join(', ');
  return `
    DELETE FROM ${mirror(merged)} AS t USING (
      SELECT tableoid AS part, ctid AS old, row_number() OVER (PARTITION BY ${key}) AS n FROM ${mirror(merged)}
    ) AS d WHERE ${OLD_ROW} AND d.n > 1`;
}

/** Keys are matched as their unique index does, rows are compared by their bytes: 1.0 and 1.00 are one key, and two values. */
export function createDifferences(merged: MergedTable): string {
  return `
    CREATE TEMPORARY TABLE ${differences(merged).replace('pg_temp.', '')} ON COMMIT DROP AS
    SELECT t.tableoid AS part, t.ctid AS old, s.ctid AS new, NULL::pg_catalog.text AS referenced_by
    FROM ${mirror(merged)} AS t FULL JOIN ${stagedRows(merged)} AS s ON ${matchKeys(merged, 't', 's')}
    WHERE t.ctid IS NULL OR s.ctid IS NULL OR ${rowsDiffer(merged)}`;
}

/**
 * As createDifferences, where only what changed is staged. A key that has gone may have come back as an equal one with other bytes (1.0 and 1.00): then its row
 * stays and changes. Rows that earlier cycles retained are looked at again, like every time.
 */
export function createDifferencesOfChanges(merged: MergedTable): string {
  const isStaged = `EXISTS (SELECT FROM ${stagedRows(merged)} AS s WHERE ${matchKeys(merged, 't', 's')})`;
  const retained = `
    UNION ALL SELECT t.tableoid, t.ctid, NULL, NULL FROM ${mirror(merged)} AS t WHERE NOT ${isNotRetained('t', merged.table)} AND NOT ${isStaged}`;
  return `
    CREATE TEMPORARY TABLE ${differences(merged).replace('pg_temp.', '')} ON COMMIT DROP AS
    SELECT t.tableoid AS part, t.ctid AS old, s.ctid AS new, NULL::pg_catalog.text AS referenced_by
    FROM ${stagedRows(merged)} AS s LEFT JOIN ${mirror(merged)} AS t ON ${matchKeys(merged, 't', 's')} WHERE t.ctid IS NULL OR ${rowsDiffer(merged)}
    UNION ALL SELECT t.tableoid, t.ctid, NULL, NULL FROM ${goneKeys(merged)} AS g JOIN ${mirror(merged)} AS t ON ${matchKeys(merged, 't', 'g')} WHERE NOT ${isStaged}
    ${merged.hasRetained ? retained : ''}`;
}

function rowsDiffer(merged: MergedTable): string {
  return `ROW(${columnList(merged, 't')})::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(${columnList(merged, 's')})::pg_catalog.record`;
}

/** As if the retained rows had just left the share: those that nothing references any more are deleted. */
export function createDifferencesOfRetainedRows(merged: MergedTable): string {
  return `
    CREATE TEMPORARY TABLE ${differences(merged).replace('pg_temp.', '')} ON COMMIT DROP AS
    SELECT t.tableoid AS part, t.ctid AS old, NULL::pg_catalog.tid AS new, NULL::pg_catalog.text AS referenced_by
    FROM ${mirror(merged)} AS t WHERE NOT ${isNotRetained('t', merged.table)}`;
}

/** From here on no session can begin to reference a row that is about to go. */
export function lockLeavingRows(merged: MergedTable): string {
  return `SELECT FROM ${mirror(merged)} AS t JOIN ${differences(merged)} AS d ON ${OLD_ROW} WHERE d.new IS NULL FOR UPDATE OF t`;
}

/**
 * Retains leaving rows that are referenced. $1: the reference in words.
 * @param unless condition on the leaving row `l` and a row `a` of the manifest that has its referenced values now: then the reference holds without it
 */
export function retainReferenced(
  merged: MergedTable,
  { match, fromTable, unless }: { match: string; fromTable: string; unless?: string },
): string {
  const taken = unless ? `AND NOT EXISTS (SELECT FROM ${stagedRows(merged)} AS a, LATERAL (SELECT t.*) AS l WHERE ${unless})` : '';
  return `
    UPDATE ${differences(merged)} AS d SET referenced_by = $1 FROM ${mirror(merged)} AS t
    WHERE ${LEAVES} AND EXISTS (SELECT FROM ${fromTable} AS f WHERE ${match}) ${taken}`;
}

/** The same for rows that retained rows of a merged table reference. The reference at the end of the chain comes first in the text: it is the device's own. */
export function retainReferencedByRetained(merged: MergedTable, match: string, referencing: MergedTable): string {
  return `
    UPDATE ${differences(merged)} AS d SET referenced_by = pg_catalog.split_part(k.referenced_by, ' through ', 1) || ' through ' || $1
    FROM ${mirror(merged)} AS t, ${mirror(referencing)} AS f JOIN ${differences(referencing)} AS k ON f.tableoid = k.part AND f.ctid = k.old
    WHERE ${LEAVES} AND k.referenced_by IS NOT NULL AND ${match}`;
}

/** Some of the retained rows, and how many there are. */
export function findRetained(merged: MergedTable): string {
  return `
    SELECT ${keyText('t', merged.table.key)} AS key, d.referenced_by AS "referencedBy", count(*) OVER () AS total
    FROM ${differences(merged)} AS d JOIN ${mirror(merged)} AS t ON ${OLD_ROW} WHERE d.referenced_by IS NOT NULL LIMIT 5`;
}

/** Some of the rows that change values which rows of another table reference, and how many there are. @param columns the referenced ones */
export function findChangedReferences(merged: MergedTable, match: string, fromTable: string, columns: readonly string[]): string {
  return `
    SELECT ${keyText('t', merged.table.key)} AS key, count(*) OVER () AS total
    FROM ${differences(merged)} AS d JOIN ${mirror(merged)} AS t ON ${OLD_ROW} JOIN ${stagedRows(merged)} AS s ON s.ctid = d.new
    WHERE ${differ(columns)} AND EXISTS (SELECT FROM ${fromTable} AS f WHERE ${match}) LIMIT 5`;
}

/** Whether a row changes a value of these columns. */
export function findChanged(merged: MergedTable, columns: readonly string[]): string {
  return `
    SELECT EXISTS (
      SELECT FROM ${differences(merged)} AS d JOIN ${mirror(merged)} AS t ON ${OLD_ROW} JOIN ${stagedRows(merged)} AS s ON s.ctid = d.new WHERE ${differ(columns)}
    ) AS changes`;
}

/** Whether a row takes a value of these columns that another row gives up, or writes its own otherwise. @param equal condition on rows `l` and `a` */
export function findPassingValues(merged: MergedTable, columns: readonly string[], equal: string): string {
  const list = (alias: string): string => columns.map((name) => `${alias}.${quoteIdentifier(name)}`).join(', ');
  return `
    SELECT EXISTS (
      SELECT FROM (
        SELECT ${list('t')} FROM ${differences(merged)} AS d JOIN ${mirror(merged)} AS t ON ${OLD_ROW} LEFT JOIN ${stagedRows(merged)} AS s ON s.ctid = d.new
        WHERE d.referenced_by IS NULL AND (d.new IS NULL OR ${differ(columns)})
      ) AS l JOIN (
        SELECT ${list('s')} FROM ${differences(merged)} AS d JOIN ${stagedRows(merged)} AS s ON s.ctid = d.new LEFT JOIN ${mirror(merged)} AS t ON ${OLD_ROW}
        WHERE d.old IS NULL OR ${differ(columns)}
      ) AS a ON ${equal}
    ) AS passes`;
}

/** Lets values be written into identity columns that are GENERATED ALWAYS, or no longer. */
export function alterIdentities(merged: MergedTable, columns: readonly string[], generated: 'BY DEFAULT' | 'ALWAYS'): string {
  const actions = columns.map((name) => `ALTER COLUMN ${quoteIdentifier(name)} SET GENERATED ${generated}`);
  return `ALTER TABLE ${quoteTable(parseTableName(merged.table.name))} ${actions.join(', ')}`;
}

/**
 * Gives rows whose values of `columns` change a value that no row has, so that others may take theirs. What differs is known by its new place afterwards.
 * @param value SQL of the temporary value
 */
export function assignTemporaryValues(
  merged: MergedTable,
  columns: readonly string[],
  { column, value }: { column: string; value: string },
): string {
  return `
    WITH moved AS (
      UPDATE ${mirror(merged)} AS t SET ${quoteIdentifier(column)} = ${value}
      FROM (
        SELECT d.ctid AS place, d.part, d.old, d.new, row_number() OVER () AS position
        FROM ${differences(merged)} AS d WHERE d.old IS NOT NULL AND d.new IS NOT NULL
      ) AS d JOIN ${stagedRows(merged)} AS s ON s.ctid = d.new
      WHERE ${OLD_ROW} AND ${differ(columns)} RETURNING d.place, t.tableoid AS part, t.ctid AS old
    )
    UPDATE ${differences(merged)} AS d SET part = moved.part, old = moved.old FROM moved WHERE d.ctid = moved.place`;
}

function differ(columns: readonly string[]): string {
  const list = (alias: string): string => columns.map((name) => `${alias}.${quoteIdentifier(name)}`).join(', ');
  return `ROW(${list('t')})::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(${list('s')})::pg_catalog.record`;
}

/** $1: the table's name. */
export function recordRetained(merged: MergedTable): string {
  return `
    WITH still AS (
      SELECT ${keyText('t', merged.table.key)} AS key, d.referenced_by
      FROM ${differences(merged)} AS d JOIN ${mirror(merged)} AS t ON ${OLD_ROW} WHERE d.referenced_by IS NOT NULL
    ), forgotten AS (
      DELETE FROM ${RETAINED_ROWS} WHERE table_name = $1 AND row_key NOT IN (SELECT key FROM still)
    )
    INSERT INTO ${RETAINED_ROWS} (table_name, row_key, referenced_by) SELECT $1, key, referenced_by FROM still ON CONFLICT (table_name, row_key) DO NOTHING`;
}

export interface Application {
  /** Tables whose changed rows are deleted and inserted rather than updated. */
  replacing: ReadonlySet<MergedTable>;
  /** Tables whose identity columns take values. */
  withIdentities: ReadonlySet<MergedTable>;
}

/**
 * Brings all tables up to their staged rows in one statement, since PostgreSQL checks foreign keys at a statement's end: so neither the tables'
 * order nor cycles matter. Within a table rows go, change and come in this order, each part waiting for the count of the one before.
 */
export function applyDifferences(tables: readonly MergedTable[], { replacing, withIdentities }: Application): string {
  const parts: string[] = [];
  const counts: string[] = [];
  for (const merged of tables) {
    const at = merged.position;
    const replaces = replacing.has(merged);
    parts.push(`deleted_${at} AS (
      DELETE FROM ${mirror(merged)} AS t USING ${differences(merged)} AS d
      WHERE ${OLD_ROW} AND d.referenced_by IS NULL${replaces ? '' : ' AND d.new IS NULL'} RETURNING 1)`);
    counts.push(`(SELECT count(*) FROM deleted_${at}) AS deleted_${at}`);
    if (!merged.staged) continue;
    const updated = merged.local.columns.filter(
      ({ name, identityAlways }) => (!identityAlways || withIdentities.has(merged)) && isMirrored(merged, name),
    );
    if (!replaces) {
      const assignments = updated.map(({ name }) => `${quoteIdentifier(name)} = s.${quoteIdentifier(name)}`).join(', ');
      parts.push(`updated_${at} AS (
      UPDATE ${mirror(merged)} AS t SET ${assignments} FROM ${differences(merged)} AS d JOIN ${stagedRows(merged)} AS s ON s.ctid = d.new
      WHERE ${OLD_ROW} AND (SELECT count(*) FROM deleted_${at}) >= 0 RETURNING 1)`);
      counts.push(`(SELECT count(*) FROM updated_${at}) AS updated_${at}`);
    }
    parts.push(`inserted_${at} AS (
      INSERT INTO ${quoteTable(parseTableName(merged.table.name))} (${columnList(merged)}) OVERRIDING SYSTEM VALUE
      SELECT ${columnList(merged, 's')} FROM ${differences(merged)} AS d JOIN ${stagedRows(merged)} AS s ON s.ctid = d.new
      WHERE ${replaces ? '' : 'd.old IS NULL AND '}(SELECT count(*) FROM ${replaces ? 'deleted' : 'updated'}_${at}) >= 0 ORDER BY d.new RETURNING 1)`);
    counts.push(`(SELECT count(*) FROM inserted_${at}) AS inserted_${at}`);
  }
  return `WITH ${parts.join(',\n    ')}\n    SELECT ${counts.join(', ')}`;
}

function isMirrored({ table }: MergedTable, column: string): boolean {
  return table.columns.some(({ name }) => name === column);
}
