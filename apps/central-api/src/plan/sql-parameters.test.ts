import fc from 'fast-check';
import { parameterLines, parametersOf, renderParameters } from './sql-parameters.js';

const numbered = (sql: string): string => renderParameters(sql, (name) => `<${name}>`);

describe('a parameter', () => {
  test.each([
    [':a', '<a>'],
    ['id = :a', 'id = <a>'],
    [':a = id AND :b < 3', '<a> = id AND <b> < 3'],
    ['id IN (:a,:b)', 'id IN (<a>,<b>)'],
    ['id=:a::int', 'id=<a>::int'],
    ['CAST(:a AS int)', 'CAST(<a> AS int)'],
    ['x >:a', 'x ><a>'],
    ['-:a', '-<a>'],
    [':_a1 || :A', '<_a1> || <A>'],
    ["'x'||:a||'y'", "'x'||<a>||'y'"],
    ['/* c */:a--:b', '/* c */<a>--:b'],
    ['name = :größe', 'name = <größe>'],
    ['name = :имя AND 1 = 1', 'name = <имя> AND 1 = 1'],
    ['"Ünïcode" = :a', '"Ünïcode" = <a>'],
    ["'😀' = :a", "'😀' = <a>"],
  ])('is found in %s', (sql, rendered) => expect(numbered(sql)).toBe(rendered));

  test.each([
    ['a cast', 'a::text'],
    ['a cast after a bracket', '(a)::text || b[1]::text'],
    ['an array slice', 'a[1:n] || a[x:y] || a[f(1):n] || a[é:n] || b[c[1]:n]'],
    ['a string', "x = ':a'"],
    ['a string with doubled quotes', "x = 'it''s :a'"],
    ['a string that ends in a backslash', String.raw`x = 'C:\' OR y = ':a'`],
    ['an E string with escaped quotes', String.raw`x = E'\':a' OR y = e'\\'':a'`],
    ['a quoted name', 'x = ":a" OR ":a"":b" = 1'],
    ['a line comment', 'x -- it is :a'],
    ['a block comment', 'x /* :a */'],
    ['a nested block comment', 'x /* /* :a */ :b */'],
    ['a block comment without end', 'x /* :a'],
    ['a dollar quote', 'x = $$ :a $$'],
    ['a tagged dollar quote', 'x = $tag$ :a $$ :b $other$ :c $tag$'],
    ['a dollar quote with a tag beyond ASCII', 'x = $é$ :a $é$'],
    ['a word and a number', 'a ? 1:2'],
    ['nothing at all', ''],
  ])('is not looked for in %s', (_, sql) => expect(parametersOf(sql)).toEqual([]));

  test.each([
    ['after an E string', String.raw`E'\\' || :a`],
    ['after a word that ends in e before a string', "type'x' || :a"],
    ['after a dollar within names', 'a$b = :a AND c$d = 1'],
    ['after a letter beyond ASCII before a dollar', 'é$x = :a AND é$x = 2'],
    ['after a nested comment', '/* /* */ */ :a'],
    ['after a line comment', '-- x\n:a'],
    ['after a line comment that a carriage return ends', '-- x\r:a'],
    ['after quotes within a comment', "/* don't */ :a -- isn't"],
    ['after comment marks within a string', "'/* --' = :a"],
    ['after a dollar quote', '$q$:b$q$ = :a'],
  ])('is found %s', (_, sql) => expect(parametersOf(sql)).toEqual(['a']));
});

test('each parameter is named once, with the line where it stands first', () => {
  const sql = "a = ':c'\n  AND b = :bb /* :c\n */ AND c = :c\n  AND d = :b AND b = :bb";
  expect([...parameterLines(sql)]).toEqual([
    ['bb', 1],
    ['c', 2],
    ['b', 3],
  ]);
});

const PIECES = [
  ...[':a', ':b1', '::', ':', "'", '"', '$$', '$t$', '$', "E'", '\\', '--', '/*', '*/', '\n', ' ', '(', ')', '[', ']', 'é', '😀', '1', 'x'],
];
const anySql = fc.array(fc.constantFrom(...PIECES), { maxLength: 30 }).map((pieces) => pieces.join(''));

test('rendering each parameter as itself changes nothing', () => {
  fc.assert(
    fc.property(fc.oneof(anySql, fc.string({ unit: 'binary' })), (sql) => {
      expect(renderParameters(sql, (name) => `:${name}`)).toBe(sql);
    }),
    { numRuns: 2_000 },
  );
});

test('a parameter changes nothing around it, whatever it is rendered as', () => {
  fc.assert(
    fc.property(anySql, (sql) => {
      const positions: number[] = [];
      renderParameters(sql, (name, position) => {
        expect(sql.startsWith(`:${name}`, position)).toBe(true);
        positions.push(position);
        return '';
      });
      expect(positions).toEqual([...positions].sort((a, b) => a - b));
      expect(renderParameters(sql, () => 'NULL').split('\n')).toHaveLength(sql.split('\n').length);
    }),
    { numRuns: 2_000 },
  );
});
