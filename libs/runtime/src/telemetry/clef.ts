/** Seq's names of pino's levels. */
const LEVELS: Record<string, string> = {
  trace: 'Verbose',
  debug: 'Debug',
  info: 'Information',
  warn: 'Warning',
  error: 'Error',
  fatal: 'Fatal',
};
/** Seq refuses events above 256 KiB by default; a character takes up to three bytes. */
const MAX_CHARS = 80 << 10;

/**
 * A log line as an event in Seq's compact format (CLEF, one JSON object): `@t`, `@l`, `@mt`, `@x` (the error's stack), `@tr` and `@sp` (trace and span),
 * everything else as properties under their names in the log. A line that is too long loses its properties; undefined for text that is not a log line.
 */
export function toClef(line: string): string | undefined {
  const fields = parse(line);
  if (!fields) return undefined;
  const { time, level, msg, err, trace_id: traceId, span_id: spanId, ...properties } = fields;
  const { stack, ...error } = typeof err === 'object' && err !== null ? (err as { stack?: unknown }) : {};
  const message = typeof msg === 'string' ? msg : messageOf(error);
  const head = {
    '@t': time,
    '@l': LEVELS[String(level)] ?? String(level),
    // Seq reads braces as placeholders of properties.
    '@mt': message.replace(/[{}]/g, '$&$&'),
    ...(traceId === undefined ? {} : { '@tr': traceId, '@sp': spanId }),
  };
  const named = Object.entries({ ...properties, ...(err === undefined ? {} : { err: error }) }).map(([name, value]) => [
    name.startsWith('@') ? `@${name}` : name,
    value,
  ]);
  const event = JSON.stringify({ ...head, ...(stack === undefined ? {} : { '@x': stack }), ...(Object.fromEntries(named) as object) });
  if (event.length <= MAX_CHARS) return event;
  return JSON.stringify({
    ...head,
    '@mt': head['@mt'].slice(0, 1024),
    service: properties['service'],
    truncatedFrom: event.length,
  });
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const fields: unknown = JSON.parse(line);
    return typeof fields === 'object' && fields !== null ? (fields as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function messageOf(error: object): string {
  return 'message' in error && typeof error.message === 'string' ? error.message : '';
}
