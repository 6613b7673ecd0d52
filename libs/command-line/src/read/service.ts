import { type Problem, WaypostError } from '@waypost/contracts';

const TIMEOUT_MS = 5000;

/** An answer of a running service. */
export interface ServiceAnswer {
  ok: boolean;
  status: number;
  body: unknown;
}

/** What sends a request; its errors carry what went wrong as their cause, as those of `fetch`. */
export type Send = (url: URL, init: { signal: AbortSignal }) => Promise<Pick<Response, 'ok' | 'status' | 'text'>>;

/**
 * GETs JSON from a service.
 * @param base its address, with or without a path
 * @param send in place of `fetch`, for instance one that trusts other certificates
 * @throws WaypostError CENTRAL_UNREACHABLE when nothing answers, CONFIG_INVALID when the address is none; those of `send`
 */
export async function askService(base: string, path: string, source: string, send: Send = fetch): Promise<ServiceAnswer> {
  const url = URL.parse(`${base.replace(/\/+$/, '')}${path}`);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new WaypostError('CONFIG_INVALID', { detail: `${source} is not an http:// or https:// URL.` });
  }
  try {
    const response = await send(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await response.text();
    return { ok: response.ok, status: response.status, body: parse(text) };
  } catch (error) {
    if (error instanceof WaypostError) throw error;
    const cause = (error as { cause?: { code?: string; message?: string } }).cause;
    const reason = cause?.code ?? cause?.message ?? (error as Error).message;
    throw new WaypostError('CENTRAL_UNREACHABLE', {
      detail: `${url.origin} does not answer: ${reason}.`,
      hint: `Check ${source}, and that the service runs and is reached from here.`,
      cause: error,
    });
  }
}

/** The problem document of an answer, if it is one. */
export function problemOf({ body }: ServiceAnswer): Problem | undefined {
  return typeof body === 'object' && body !== null && 'code' in body && 'hint' in body ? (body as Problem) : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
