import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { withClient } from '../../scripts/with-client.js';

const SCRIPTS = join(import.meta.dirname, '..', '..', 'docker', 'postgres');
/** Of each role: roles belong to a server, which several tests may share. */
const PASSWORD = 'test';
/** psql's variables, as docker/postgres/*.sql names them. */
const VARIABLES: Readonly<Record<string, string>> = {
  waypost_password: PASSWORD,
  grafana_password: PASSWORD,
  reader_password: PASSWORD,
};

/** What owns the tables that are not Waypost's: central's business data, a device's own tables. It owns the database, and is no superuser. */
const OWNER = 'owner';
const GRANT_OWNER = `
  CREATE ROLE ${OWNER} LOGIN PASSWORD '${PASSWORD}';
  ALTER DATABASE :"DBNAME" OWNER TO ${OWNER};
  GRANT USAGE, CREATE ON SCHEMA public TO ${OWNER};`;
/** docs/deploy.md asks for these grants where the data's owner is another than the one who ran central.sql. */
const GRANT_BUSINESS_DATA = `
  ALTER DEFAULT PRIVILEGES FOR ROLE ${OWNER} GRANT USAGE ON SCHEMAS TO waypost;
  ALTER DEFAULT PRIVILEGES FOR ROLE ${OWNER} GRANT SELECT ON TABLES TO waypost;`;

export type Side = 'central' | 'edge';

/** A database as its image makes it. */
export interface RoleUrls {
  /** Of the role `waypost`, for the service. */
  serviceUrl: string;
  /** Of the role that owns the business data, or the device's own tables. */
  ownerUrl: string;
}

/**
 * Creates the roles and rights of an image, by its own docker/postgres/<side>.sql, and an owner for the tables that are not Waypost's.
 * @param adminUrl of an empty database, as superuser
 */
export async function createImageRoles(side: Side, adminUrl: string): Promise<RoleUrls> {
  const script = await readFile(join(SCRIPTS, `${side}.sql`), 'utf8');
  const all = script + GRANT_OWNER + (side === 'central' ? GRANT_BUSINESS_DATA : '');
  const database = decodeURIComponent(new URL(adminUrl).pathname.slice(1));
  await withClient(adminUrl, (client) =>
    // The lock holds in all databases of the server: roles are shared by them.
    client.query(`BEGIN; LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE; ${withoutPsql(all, database)}; COMMIT`),
  );
  return { serviceUrl: urlAs('waypost', adminUrl), ownerUrl: urlAs(OWNER, adminUrl) };
}

/** @throws Error at what psql would understand, and this does not */
function withoutPsql(script: string, database: string): string {
  return script
    .replaceAll(/^\\(.*)$/gm, (_, command: string) => {
      if (!/^(set ON_ERROR_STOP on|getenv \w+ \w+)$/.test(command)) throw new Error(`unknown command of psql: \\${command}`);
      return '';
    })
    .replaceAll(/:'(\w+)'/g, (_, name: string) => {
      const value = VARIABLES[name];
      if (value === undefined) throw new Error(`unknown variable of psql: ${name}`);
      return pg.escapeLiteral(value);
    })
    .replaceAll(':"DBNAME"', pg.escapeIdentifier(database))
    .replaceAll(/^ *(CREATE ROLE [^;]+);/gm, 'DO $role$ BEGIN $1; EXCEPTION WHEN duplicate_object THEN NULL; END $role$;');
}

function urlAs(role: string, adminUrl: string): string {
  const url = new URL(adminUrl);
  [url.username, url.password] = [role, PASSWORD];
  return url.href;
}
