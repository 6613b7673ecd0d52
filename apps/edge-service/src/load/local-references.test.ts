import type { ManifestTable } from '@waypost/contracts';
import { type LocalReference, withReferencing } from './local-references.js';

const tables = ['a', 'b', 'c', 'd'].map((name) => ({ name }) as ManifestTable);
const reference = (from: string | undefined, to: string): LocalReference => ({
  from,
  to,
  oid: '1',
  constraint: `${from}_${to}`,
  fromTable: from ?? 'mine',
  actsOnDelete: false,
  actsOnUpdate: false,
  columns: [],
  match: 't.id = f.id',
  equal: 'l.id = a.id',
});
const names = (changed: string[], references: LocalReference[]) =>
  withReferencing(tables, new Set(changed), references).map(({ name }) => name);

test('without references only the changed tables are loaded, in the order of the manifest', () => {
  expect(names(['c', 'a'], [])).toEqual(['a', 'c']);
});

test('what references a changed table is loaded too, over any number of steps and in circles', () => {
  expect(names(['a'], [reference('b', 'a'), reference('c', 'b'), reference('a', 'c')])).toEqual(['a', 'b', 'c']);
});

test('a table that references itself does not matter', () => {
  expect(names(['a'], [reference('a', 'a')])).toEqual(['a']);
});

test('a reference onto an unchanged table does not matter, wherever it comes from', () => {
  expect(names(['a'], [reference(undefined, 'b'), reference('d', 'c')])).toEqual(['a']);
});

test('a table outside of the mirror that references a loaded one is refused by name, also behind another table', () => {
  expect(() => names(['a'], [reference('b', 'a'), reference(undefined, 'b')])).toThrow(/mine references b by its constraint/);
});
