import { DataSource } from 'typeorm';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { dataSourceOptions } from './data-source.js';

/** Entities describe the tables that the migrations make. */

let server: TestServer;
let dataSource: DataSource;

beforeAll(async () => {
  server = await startTestServer();
  const { url } = await server.createDatabase('entities');
  dataSource = await new DataSource(dataSourceOptions({ url }, () => undefined)).initialize();
  await dataSource.query('CREATE SCHEMA waypost');
  await dataSource.runMigrations({ transaction: 'all' });
});
afterAll(async () => {
  await dataSource?.destroy();
  await server?.[Symbol.asyncDispose]();
});

interface Column {
  name: string;
  type: string;
  isNullable: boolean;
}

const byName = (one: Column, other: Column): number => (one.name < other.name ? -1 : 1);

test('each entity has all columns of its table, with their types', async () => {
  expect(dataSource.entityMetadatas.length).toBeGreaterThan(3);
  for (const { tableName, columns } of dataSource.entityMetadatas) {
    const inTable = await dataSource.query<Column[]>(
      `SELECT column_name AS name, udt_name AS type, is_nullable = 'YES' AS "isNullable" FROM information_schema.columns
       WHERE table_schema = 'waypost' AND table_name = $1`,
      [tableName],
    );
    const inEntity = columns.map(({ databaseName, type, isNullable }) => ({ name: databaseName, type: type as string, isNullable }));
    expect({ tableName, columns: inEntity.sort(byName) }).toEqual({ tableName, columns: inTable.sort(byName) });
  }
});
