import { join } from 'node:path';
import { parsePlan, readPlan } from './read-plan.js';

const GOOD = `version: 1
schemaVersion: 7
scope:
  query: |
    SELECT 1 AS a
    WHERE :mac IS NOT NULL
tables:
  - name: users
    where: |
      a = 1
      AND b = 2
  - name: areas
    columns:
      - id
      - name
    where: >-
      id
      > 1
  - { name: groups, key: [id, name], where: 'x = 1' }
`;

/** The faults of a plan text, without their common prefix. */
function faultsOf(source: string): string[] {
  try {
    parsePlan('my.yaml', source);
  } catch (error) {
    expect(error).toMatchObject({ code: 'PLAN_INVALID', hint: expect.stringContaining('plan:check') });
    return (error as Error).message.split('\n');
  }
  return [];
}

test('a plan is read as it stands', () => {
  expect(parsePlan('my.yaml', GOOD).plan).toEqual({
    version: 1,
    schemaVersion: 7,
    scope: { query: 'SELECT 1 AS a\nWHERE :mac IS NOT NULL\n' },
    tables: [
      { name: 'users', where: 'a = 1\nAND b = 2\n' },
      { name: 'areas', columns: ['id', 'name'], where: 'id > 1' },
      { name: 'groups', key: ['id', 'name'], where: 'x = 1' },
    ],
  });
});

test.each<[(string | number)[], number, number]>([
  [['version'], 0, 1],
  [['scope', 'query'], 0, 5],
  [['scope', 'query'], 1, 6],
  [['tables', 0], 0, 8],
  [['tables', 0, 'name'], 0, 8],
  [['tables', 0, 'where'], 1, 11],
  [['tables', 1, 'columns', 1], 0, 15],
  [['tables', 1, 'where'], 0, 17],
  [['tables', 2, 'where'], 0, 19],
  [['tables', 2, 'key', 1], 0, 19],
  // What is not there stands where it should be.
  [['tables', 0, 'columns'], 0, 8],
  [['tables', 0, 'columns', 3], 5, 8],
  [['nowhere'], 0, 1],
])('%j, line %i of its text, stands in line %i', (place, lineInValue, line) => {
  expect(parsePlan('my.yaml', GOOD).locate(place, lineInValue)).toBe(`my.yaml:${line}`);
});

test.each<[string, string, RegExp[]]>([
  ['a tab as indentation', GOOD.replace('  query', '\tquery'), [/^my\.yaml:4: /]],
  ['an unclosed quote and bracket', GOOD.replace("'x = 1' }", "'x = 1"), [/^my\.yaml:20: /, /^my\.yaml:20: /]],
  ['a key twice', GOOD.replace('schemaVersion: 7', 'version: 1'), [/^my\.yaml:2: .*unique/]],
  ['a misspelt field', GOOD.replace('    columns:', '    colums:'), [/^my\.yaml:14: tables\.1: .*colums/]],
  ['a wrong type', GOOD.replace('schemaVersion: 7', 'schemaVersion: seven'), [/^my\.yaml:2: schemaVersion: /]],
  ['an empty filter', GOOD.replace("'x = 1'", "''"), [/^my\.yaml:19: tables\.2\.where: /]],
  [
    'a version of the future and no scope',
    'version: 2\nschemaVersion: 1\ntables:\n - name: a\n',
    [/^my\.yaml:1: version/, /^my\.yaml:\d: scope/],
  ],
  ['nothing in it', '', [/^my\.yaml:1: plan: /]],
  ['no mapping', '- a\n', [/^my\.yaml:1: plan: /]],
])('a plan with %s is refused with file and line', (_, source, faults) => {
  expect(faultsOf(source)).toEqual(faults.map((fault) => expect.stringMatching(fault) as string));
});

test('an alias bomb is refused, not expanded', () => {
  const bomb = Array.from(
    { length: 12 },
    (_, at) =>
      `a${at}: &a${at} [${Array(10)
        .fill(at > 0 ? `*a${at - 1}` : 'x')
        .join(', ')}]`,
  );
  expect(faultsOf(bomb.join('\n'))).toEqual([expect.stringMatching(/^my\.yaml:/)]);
});

test('a plan that cannot be read says so', async () => {
  const missing = join(import.meta.dirname, 'no-such-plan.yaml');
  await expect(readPlan(missing)).rejects.toMatchObject({
    code: 'PLAN_INVALID',
    message: expect.stringContaining(missing),
    hint: expect.stringContaining('SYNC_PLAN'),
  });
});
