import { WaypostError } from '@waypost/contracts';
import type { z } from 'zod';
import { MAX_DETAIL_CHARS, shorten } from '../errors/shorten.js';

/** Matches, in JSON.stringify's output, characters that neither PostgreSQL's text nor canonical JSON can store. */
const UNSTORABLE = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/;

/**
 * Validates a message that arrived over HTTP.
 * @throws WaypostError REQUEST_INVALID that names each wrong field
 */
export function parseMessage<Schema extends z.ZodType>(schema: Schema, body: unknown): z.infer<Schema> {
  const parsed = schema.safeParse(body);
  // Only the members that the schema keeps: dropped ones may be nested deeper than JSON.stringify can go.
  if (parsed.success && !UNSTORABLE.test(JSON.stringify(parsed.data))) return parsed.data;
  if (parsed.success) throw new WaypostError('REQUEST_INVALID', { detail: 'A text holds a NUL character or half of a surrogate pair.' });
  const faults = parsed.error.issues.slice(0, 10).map(({ path, message }) => `${path.join('.') || 'body'}: ${message}`);
  throw new WaypostError('REQUEST_INVALID', { detail: shorten(faults.join('; '), MAX_DETAIL_CHARS) });
}
