import type { Table } from './tables.js';

/**
 * Every state that central's tables were in. Row triggers of the test's own keep each version of each row with the transaction that made it and the one
 * that ended it, so that the rows of any snapshot can be given later, while others write. Nothing of Waypost's takes part.
 */
export function createHistory(tables: readonly Table[]): string {
  return ['CREATE SCHEMA history', ...tables.map(createVersions)].join(';\n');
}

/** SQL that forgets versions which no snapshot from now on sees. */
export function pruneHistory(tables: readonly Table[]): string {
  return tables.map(({ name }) => `DELETE FROM history.${name} WHERE pg_visible_in_snapshot(died, pg_current_snapshot())`).join(';\n');
}

/** SQL that adds a column to a table. No writer gives it a value, so that each version of each row has its default. */
export function addColumn(table: string, definition: string): string {
  return `ALTER TABLE ${table} ADD COLUMN ${definition}; ALTER TABLE history.${table} ADD COLUMN ${definition}`;
}

/** The tables as a snapshot sees them: parts of a WITH that stand for the tables of these names. */
export function tablesAsOf(tables: readonly Table[], snapshot: string): string[] {
  const sees = (xid: string): string => `pg_visible_in_snapshot(${xid}, '${snapshot}'::pg_snapshot)`;
  return tables.map(
    ({ name }) => `${name} AS (SELECT * FROM history.${name} WHERE ${sees('born')} AND (died IS NULL OR NOT ${sees('died')}))`,
  );
}

/**
 * A row dies before it is changed and the new one is born after its statement: keys that move from row to row within a statement meet no other.
 * Foreign keys call the triggers as the owner of the tables.
 */
function createVersions({ name, columns, key }: Table): string {
  const list = columns.map((column) => column.name).join(', ');
  const isOld = key.map((column) => `${column} = OLD.${column}`).join(' AND ');
  const trigger = (when: string, of: string, called: string): string => `
    CREATE TRIGGER history_${called} ${when} ON ${name} FOR EACH ${of} EXECUTE FUNCTION history.${name}_${called}()`;
  const routine = (called: string, body: string): string =>
    `CREATE FUNCTION history.${name}_${called}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN ${body} END $$`;
  return [
    `CREATE TABLE history.${name} AS SELECT ${list}, pg_current_xact_id() AS born, NULL::xid8 AS died FROM ${name}`,
    `CREATE INDEX ON history.${name} (${key.join(', ')}) WHERE died IS NULL`,
    routine(
      'dies',
      `UPDATE history.${name} SET died = pg_current_xact_id() WHERE ${isOld} AND died IS NULL;
       IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW;`,
    ),
    routine(
      'is_born',
      `INSERT INTO history.${name} (${list}, born) VALUES (${columns.map((column) => `NEW.${column.name}`).join(', ')}, pg_current_xact_id());
       RETURN NULL;`,
    ),
    routine('are_truncated', `UPDATE history.${name} SET died = pg_current_xact_id() WHERE died IS NULL; RETURN NULL;`),
    trigger('BEFORE UPDATE OR DELETE', 'ROW', 'dies'),
    trigger('AFTER INSERT OR UPDATE', 'ROW', 'is_born'),
    trigger('BEFORE TRUNCATE', 'STATEMENT', 'are_truncated'),
  ].join(';\n');
}
