export type CopyValue = string | number | boolean | null;

const NEEDS_ESCAPE = /[\\\t\n\r]/;
const ESCAPES: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };
const BATCH_CHARACTERS = 64 << 10;

/** Rows as the text that COPY FROM STDIN reads, in pieces of about 64 KiB: memory does not grow with the number of rows. */
export function* copyText(rows: Iterable<readonly CopyValue[]>): Generator<string> {
  let batch = '';
  for (const row of rows) {
    batch += row.map(copyField).join('\t') + '\n';
    if (batch.length >= BATCH_CHARACTERS) {
      yield batch;
      batch = '';
    }
  }
  if (batch !== '') yield batch;
}

function copyField(value: CopyValue): string {
  if (value === null) return '\\N';
  if (typeof value !== 'string') return String(value);
  return NEEDS_ESCAPE.test(value) ? value.replace(/[\\\t\n\r]/g, (character) => ESCAPES[character] as string) : value;
}
