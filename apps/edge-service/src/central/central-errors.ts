import { ERROR_KINDS, type ErrorCode, problemSchema, WaypostError } from '@waypost/contracts';
import { errors } from 'undici';
import { untrustedError } from './untrusted-error.js';

/** What central answered in place of what was asked for. */
export interface Refusal {
  status: number;
  /** The body's text, truncated. */
  body: string;
}

/** The cause of an error that central answered with. */
export class RefusedAnswer extends Error {
  override readonly name = 'RefusedAnswer';
  constructor(
    readonly status: number,
    /** Central's own, if it was central that answered. */
    readonly code?: string,
  ) {
    super(`HTTP ${status}`);
  }
}

/** Central's own code of a refusal, if it was central that answered. */
export function refusalCode(error: unknown): string | undefined {
  return error instanceof WaypostError && error.cause instanceof RefusedAnswer ? error.cause.code : undefined;
}

/** Statuses of a proxy, or of a starting central, that call for a retry. */
const LATER = new Set([408, 425, 429, 502, 503, 504]);

/** Central's codes that the caller decides by. */
const SAME_HERE: ReadonlySet<string> = new Set<ErrorCode>(['CENTRAL_BUSY', 'TOO_MANY_REQUESTS', 'RANGE_INVALID', 'DELTA_NONE']);

/**
 * An answer that is not a success, as the error that tells the cycle how it heals: central's own code where trying again or a new
 * manifest helps, CENTRAL_REFUSED where an operator has to act, CENTRAL_UNREACHABLE where central is not really there.
 */
export function refusalError({ status, body }: Refusal): WaypostError {
  const problem = parseProblem(body);
  const cause = new RefusedAnswer(status, problem?.code);
  if (!problem) {
    const detail = `Central's address answered HTTP ${status} without saying why.`;
    return new WaypostError(LATER.has(status) ? 'CENTRAL_UNREACHABLE' : 'CENTRAL_REFUSED', {
      detail,
      cause,
      ...(LATER.has(status) ? {} : { hint: 'Check CENTRAL_URL: what answers there does not seem to be a Waypost central.' }),
    });
  }
  const detail = `Central: ${problem.code}: ${problem.detail ?? problem.title}`;
  const kind = Object.hasOwn(ERROR_KINDS, problem.code) ? ERROR_KINDS[problem.code as ErrorCode] : undefined;
  const sameHere = kind?.heals === 'resnapshot' || SAME_HERE.has(problem.code);
  if (sameHere) return new WaypostError(problem.code as ErrorCode, { detail, hint: problem.hint, cause });
  const later = kind ? kind.heals === 'retry' : LATER.has(status);
  return new WaypostError(later ? 'CENTRAL_UNREACHABLE' : 'CENTRAL_REFUSED', { detail, hint: problem.hint, cause });
}

function parseProblem(body: string) {
  try {
    return problemSchema.safeParse(JSON.parse(body)).data;
  } catch {
    return undefined;
  }
}

/** What a request or a body threw: ours stay as they are, everything else is the network's. */
export function networkError(error: unknown): WaypostError {
  if (error instanceof WaypostError) return error;
  if (error instanceof Error && error.name === 'TimeoutError') {
    return new WaypostError('DEADLINE_EXCEEDED', {
      detail: 'Central did not answer in full within REQUEST_TIMEOUT (an ack: STALL_TIMEOUT).',
      cause: error,
    });
  }
  if (error instanceof errors.ResponseContentLengthMismatchError) {
    return new WaypostError('CHUNK_CORRUPT', { detail: 'A body has another length than its header says.', cause: error });
  }
  const untrusted = untrustedError(error);
  if (untrusted) return untrusted;
  return new WaypostError('CENTRAL_UNREACHABLE', { detail: `Central cannot be reached: ${describe(error)}`, cause: error });
}

function describe(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(describe).join('; ');
  return error instanceof Error ? error.message || error.name : String(error);
}
