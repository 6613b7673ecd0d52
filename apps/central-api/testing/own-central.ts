import { type Central, startCentral } from './central.js';
import { SHOP_PLAN, SHOP_SCHEMA } from './shop.js';
import { runSql } from './sql.js';

interface OwnCentralOptions {
  server: { createDatabase: (name: string) => Promise<{ url: string }> };
  /** SQL that makes and fills central's tables; the shop by default. */
  schema?: string;
  /** As YAML; the shop's by default. */
  plan?: string;
  /** More of the environment. */
  env?: Record<string, string>;
}

export interface OwnCentral extends Central {
  databaseUrl: string;
}

/** central-api on a new, filled database of the server. Disposal ends central; the database goes with the server. */
export async function startOwnCentral({
  server,
  schema = SHOP_SCHEMA,
  plan = SHOP_PLAN,
  env = {},
}: OwnCentralOptions): Promise<OwnCentral> {
  const { url: databaseUrl } = await server.createDatabase('central');
  await runSql(databaseUrl, schema);
  return { ...(await startCentral({ databaseUrl, plan, env })), databaseUrl };
}
