import { Edge, queryAt } from './edge.js';
import { FakeCentral } from './fake-central.js';

interface FakePairOptions {
  server: { createDatabase: (name: string) => Promise<{ url: string }> };
  /** SQL that makes and fills the tables at central. */
  source: string;
  /** The tables that central serves. */
  tables: readonly string[];
  /** SQL that makes what the device's database has before its edge starts. */
  local?: string;
  /** More of the edge's environment. */
  env?: Record<string, string>;
}

export interface FakePair extends AsyncDisposable {
  /** URL of the database that central serves. */
  source: string;
  central: FakeCentral;
  edge: Edge;
}

/** A fake central and an edge that syncs from it on demand, each on a new database. Disposal ends both; the databases go with the server. */
export async function startFakePair({ server, source: create, tables, local, env = {} }: FakePairOptions): Promise<FakePair> {
  const [{ url: source }, { url: databaseUrl }] = [await server.createDatabase('source'), await server.createDatabase('edge')];
  await queryAt(source, create);
  if (local !== undefined) await queryAt(databaseUrl, local);
  await using stack = new AsyncDisposableStack();
  const central = stack.use(await FakeCentral.start(source, tables));
  const edge = stack.use(await Edge.start({ databaseUrl, centralUrl: central.url, env }));
  const started = stack.move();
  return { source, central, edge, [Symbol.asyncDispose]: () => started.disposeAsync() };
}
