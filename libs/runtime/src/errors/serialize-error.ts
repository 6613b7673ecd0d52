import { WaypostError } from '@waypost/contracts';
import pino from 'pino';
import { sqlStateOf } from './sql-state.js';

/**
 * An error as the log has it: with its code and hint, the messages and stacks of its causes behind its own. Nothing else that it carries: errors
 * of databases hold parameters and rows.
 */
export function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { type, stack } = pino.stdSerializers.err(error);
  const { constraint, table } = error as { constraint?: unknown; table?: unknown };
  const known = error instanceof WaypostError ? { code: error.code, heals: error.heals, hint: error.hint } : { code: sqlStateOf(error) };
  return { type, message: messageOf(error), ...known, constraint, table, stack };
}

/** The messages of the error and its causes. Most of our details quote their cause: what was said is not said again. */
function messageOf(error: Error): string {
  const seen = new Set<unknown>();
  const messages: string[] = [];
  for (let next: unknown = error; next instanceof Error && !seen.has(next); next = next.cause) {
    seen.add(next);
    const message = next.message || errorsOf(next);
    if (message !== '' && !messages.some((said) => said.includes(message))) messages.push(message);
  }
  return messages.join(': ');
}

/** What Node reports when no address of a host answers has no message of its own. */
function errorsOf(error: Error): string {
  return error instanceof AggregateError
    ? error.errors.map((part) => (part instanceof Error ? part.message : String(part))).join('; ')
    : '';
}
