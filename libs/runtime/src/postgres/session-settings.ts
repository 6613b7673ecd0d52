import type pg from 'pg';

/**
 * Settings of each new connection, TypeORM's too, on which pg's parsers of dates and bytes rely. A database or a role may have other
 * defaults, under which a timestamp would become an invalid Date.
 */
export async function readableSettings(client: pg.ClientBase): Promise<void> {
  await client.query(
    // Compiling a query of the catalog takes longer than any of them runs.
    "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET standard_conforming_strings = on; SET jit = off",
  );
}

/**
 * SQL that sets for the current transaction how PostgreSQL prints values, as postgres_fdw does. Both sides set the same, so that equal values have
 * equal bytes. `public` is searched for what a plan's SQL names without a schema.
 */
export const PIN_SESSION = `
  SET LOCAL search_path = pg_catalog, public;
  SET LOCAL TimeZone = 'UTC';
  SET LOCAL DateStyle = 'ISO, YMD';
  SET LOCAL IntervalStyle = 'postgres';
  SET LOCAL extra_float_digits = 3;
  SET LOCAL bytea_output = 'hex';
  SET LOCAL client_encoding = 'UTF8';
  SET LOCAL lc_monetary = 'C';
  SET LOCAL xmloption = content;
  SET LOCAL array_nulls = on;
  SET LOCAL quote_all_identifiers = off;
  SET LOCAL row_security = off;
  SET LOCAL synchronize_seqscans = off;
  SET LOCAL jit = off;`;

/** Runs PIN_SESSION. */
export async function pinSession(client: pg.ClientBase): Promise<void> {
  await client.query(PIN_SESSION);
}
