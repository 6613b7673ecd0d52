import pg from 'pg';

/** A pool for tests. It stays quiet when the server ends before the last of its connections does, which `end()` does not wait for. */
export function testPool(connectionString: string, max = 1): pg.Pool {
  return new pg.Pool({ connectionString, max }).on('error', () => undefined);
}
