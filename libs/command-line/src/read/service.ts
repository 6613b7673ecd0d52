import { ERROR_KINDS, type ErrorCode, type Problem, WaypostError } from '@waypost/contracts';
import { type Send, sendBy } from './send.js';

const TIMEOUT_MS = 5000;

/** An answer of a running service. */
export interface ServiceAnswer {
  ok: boolean;
  status: number;
  body: unknown;
}

/**
 * GETs JSON from a service.
 * @param base its address, with or without a path
 * @param send by default it shows no key, and trusts the authorities of Node
 * @throws WaypostError CENTRAL_UNREACHABLE when nothing answers, CENTRAL_UNTRUSTED when its certificate is not trusted, CONFIG_INVALID when the address is
 * none; those of `send`
 */
export async function askService(base: string, path: string, source: string, send: Send = sendBy({})): Promise<ServiceAnswer> {
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
    const reason = reasonOf(error);
    if (/^(CERT_|ERR_TLS_CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA)/.test(reason)) {
      throw new WaypostError('CENTRAL_UNTRUSTED', {
        detail: `The certificate of ${url.origin} is not trusted: ${reason}.`,
        hint: 'Name the file of its authority, such as ca.crt of `waypost certs init`: --ca FILE, or CENTRAL_CA. If that is right, look at the certificate’s names and dates.',
        cause: error,
      });
    }
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

/** Why a service does not tell this program what it asked for: its key is missing, not valid or has not the right, or it failed too often. */
export function refusalOf(answer: ServiceAnswer): WaypostError | undefined {
  if (![401, 403, 429].includes(answer.status)) return undefined;
  const problem = problemOf(answer);
  if (!problem || !Object.hasOwn(ERROR_KINDS, problem.code)) return undefined;
  return new WaypostError(problem.code as ErrorCode, { detail: problem.detail ?? `${problem.title}.`, hint: problem.hint });
}

function reasonOf(error: unknown): string {
  const { code, message, cause } = error as NodeJS.ErrnoException;
  const { code: causeCode, message: causeMessage } = (cause ?? {}) as NodeJS.ErrnoException;
  return [causeCode, causeMessage, code, message].find((text) => typeof text === 'string' && text !== '') ?? 'no reason given';
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
