import { formatBytes, formatSpan } from './format.js';
import { plain, printable } from './style.js';
import { renderTable } from './table.js';

const COLUMNS = [{ title: 'device' }, { title: 'rows', align: 'right' as const }, { title: 'error', elastic: true as const }];

test('columns are aligned, numbers to the right, nothing at the end of lines', () => {
  const rows = [
    ['a', 1, null],
    ['längere', 12_345, { text: 'x', tone: 'bad' as const }],
  ];
  expect(renderTable(COLUMNS, rows, { paint: plain })).toBe(
    ['  device     rows  error', '  a             1  -', '  längere  12,345  x'].join('\n'),
  );
});

test('colours do not move columns', () => {
  const rows = [[{ text: 'a', tone: 'good' as const }, 1, null]];
  const painted = renderTable(COLUMNS, rows, { paint: (_, text) => `\u001b[32m${text}\u001b[39m` });
  expect(painted.replaceAll(/\u001b\[\d+m/g, '')).toBe(renderTable(COLUMNS, rows, { paint: plain }));
});

test('a narrow terminal cuts the elastic column, a pipe none', () => {
  const rows = [['a', 1, 'a long text that tells everything']];
  expect(renderTable(COLUMNS, rows, { paint: plain, width: 40 }).split('\n')[1]).toBe('  a          1  a long text that tells …');
  expect(renderTable(COLUMNS, rows, { paint: plain })).toContain('everything');
});

test('control characters and direction marks are shown, not obeyed', () => {
  expect(printable('a\u001b[2J\n\u009b\u202eb')).toBe('a\\u001b[2J\\u000a\\u009b\\u202eb');
});

test.each([
  [0, '0 ms'],
  [999, '999 ms'],
  [61_000, '1 min 1 s'],
  [3_600_000, '1 h'],
  [122_520_000, '1 d 10 h'],
  [-5000, '-5 s'],
])('%d ms is %s', (ms, expected) => expect(formatSpan(ms)).toBe(expected));

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [43_594, '43.6 kB'],
  [207_000_000, '207.0 MB'],
])('%d bytes are %s', (bytes, expected) => expect(formatBytes(bytes)).toBe(expected));
