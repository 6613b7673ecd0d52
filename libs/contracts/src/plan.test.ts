import { planSchema } from './plan.js';

const plan = {
  version: 1,
  schemaVersion: 1,
  scope: { query: 'SELECT d.id AS device_id FROM devices d WHERE d.mac = :mac' },
  tables: [{ name: 'companies', where: 'id = :company_id' }, { name: 'users', columns: ['id', 'email'], key: ['id'] }, { name: 'areas' }],
};

test('a plan names tables, and where needed columns, key and filter', () => {
  expect(planSchema.parse(plan)).toEqual(plan);
});

test.each<[string, object, (string | number)[]]>([
  ['no version', { version: undefined }, ['version']],
  ['a version of the future', { version: 2 }, ['version']],
  ['a schema version that is no whole number', { schemaVersion: 1.5 }, ['schemaVersion']],
  ['a schema version in quotes', { schemaVersion: '1' }, ['schemaVersion']],
  ['no scope', { scope: undefined }, ['scope']],
  ['an empty scope query', { scope: { query: '' } }, ['scope', 'query']],
  ['a misspelt scope field', { scope: { query: 'SELECT 1', qeury: '' } }, ['scope']],
  ['no table', { tables: [] }, ['tables']],
  ['a table without name', { tables: [{ where: 'true' }] }, ['tables', 0, 'name']],
  ['a table name that JSON parsers drop', { tables: [{ name: '__proto__' }] }, ['tables', 0, 'name']],
  ['an empty list of columns', { tables: [{ name: 'a', columns: [] }] }, ['tables', 0, 'columns']],
  ['an empty key', { tables: [{ name: 'a', key: [] }] }, ['tables', 0, 'key']],
  ['an empty filter, which would mean all rows', { tables: [{ name: 'a' }, { name: 'b', where: '' }] }, ['tables', 1, 'where']],
  ['a shrink limit of nothing', { tables: [{ name: 'a', maxShrink: 0 }] }, ['tables', 0, 'maxShrink']],
  ['a shrink limit above the whole', { tables: [{ name: 'a', maxShrink: 50 }] }, ['tables', 0, 'maxShrink']],
  // The worst of all typing errors: a filter that is not applied.
  ['a misspelt filter', { tables: [{ name: 'a', wehre: 'false' }] }, ['tables', 0]],
  ['an unknown field', { tabels: [] }, []],
])('a plan with %s is refused, and the error says where', (_, change, path) => {
  const result = planSchema.safeParse({ ...plan, ...change });
  expect(result.error?.issues.map((issue) => issue.path)).toEqual([path]);
});
