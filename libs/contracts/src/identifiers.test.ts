import fc from 'fast-check';
import { parseColumnName, parseTableName, quoteIdentifier, quoteTable } from './identifiers.js';

const invalid = expect.objectContaining({ code: 'NAME_INVALID' }) as Error;

describe('a table name is read as SQL reads it', () => {
  test.each([
    ['users', 'public', 'users'],
    ['Users', 'public', 'users'],
    ['"Users"', 'public', 'Users'],
    ['sales.orders', 'sales', 'orders'],
    ['Sales."Orders"', 'sales', 'Orders'],
    ['"Odd Schema"."Select"', 'Odd Schema', 'Select'],
    ['"a""b"', 'public', 'a"b'],
    ['""""', 'public', '"'],
    ['"a.b"."c.d"', 'a.b', 'c.d'],
    ['"  "', 'public', '  '],
    ['_x$1', 'public', '_x$1'],
    ['größe', 'public', 'größe'],
    // PostgreSQL folds only ASCII letters in UTF-8.
    ['GRÖSSE', 'public', 'grÖsse'],
    ['東京.注文', '東京', '注文'],
    ['🛰.𝒳1', '🛰', '𝒳1'],
    ['"line\nfeed"', 'public', 'line\nfeed'],
  ])('%s', (name, schema, table) => {
    expect(parseTableName(name)).toEqual({ schema, table });
  });

  test.each([
    '',
    ' users',
    'users ',
    '.',
    'a.',
    '.b',
    'a..b',
    'a.b.c',
    'a b',
    'a-b',
    '1a',
    '$a',
    '""',
    '"a',
    'a"',
    '"a"b',
    '"a"b"',
    'a"b"',
    'users;',
    'users--',
    "users'",
    'users/**/',
    'a\0',
    '"a\0b"',
    '"\ud800"',
    '\udc00x',
    'U&"\\0061"',
  ])('and refused where SQL or PostgreSQL would refuse it or read another one: %j', (name) => {
    expect(() => parseTableName(name)).toThrow(invalid);
  });

  test('up to 63 bytes, which are not characters', () => {
    expect(parseTableName(`${'a'.repeat(63)}.${'b'.repeat(63)}`).table).toHaveLength(63);
    expect(parseTableName(`${'ü'.repeat(31)}x`).table).toHaveLength(32);
    expect(parseTableName(`"${'""'.repeat(63)}"`).table).toBe('"'.repeat(63));
    for (const tooLong of ['a'.repeat(64), 'ü'.repeat(32), `"${'a'.repeat(64)}"`, `${'a'.repeat(64)}.b`]) {
      expect(() => parseTableName(tooLong)).toThrow(invalid);
    }
  });
});

describe('a column name', () => {
  test('is read as SQL reads it', () => {
    expect(['Full_Name', '"Full Name"', '"a.b"'].map(parseColumnName)).toEqual(['full_name', 'Full Name', 'a.b']);
  });

  test('has one part', () => {
    expect(() => parseColumnName('users.id')).toThrow(invalid);
    expect(() => parseColumnName('')).toThrow(invalid);
  });
});

describe('quoting', () => {
  test('doubles inner quotes and nothing else', () => {
    expect(quoteIdentifier('users')).toBe('"users"');
    expect(quoteIdentifier(`a"b\\'; --`)).toBe(`"a""b\\'; --"`);
    expect(quoteTable({ schema: 'Odd "S', table: 'select' })).toBe('"Odd ""S"."select"');
  });

  test('never lets a name out of its quotes: what is read back is what went in', () => {
    const identifier = fc
      .string({ unit: fc.constantFrom('"', '""', '.', ';', '-', "'", '\\', ' ', '\n', 'a', 'Z', 'ü', '🛰'), minLength: 1, maxLength: 12 })
      .filter((name) => name.length > 0);
    fc.assert(
      fc.property(identifier, identifier, (schema, table) => {
        expect(parseTableName(quoteTable({ schema, table }))).toEqual({ schema, table });
        expect(parseColumnName(quoteIdentifier(table))).toBe(table);
      }),
    );
  });

  test('refuses a NUL character, which would end the statement', () => {
    expect(() => quoteIdentifier('a\0b')).toThrow(invalid);
  });
});
