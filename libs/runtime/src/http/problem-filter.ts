import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import { type Problem, PROBLEM_TYPE, toProblem, WaypostError } from '@waypost/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { sqlStateOf } from '../errors/sql-state.js';
import { toWaypostError } from '../errors/to-waypost-error.js';
import { redactText } from '../telemetry/redact.js';
import { inRequest, loggedUrl, markRequestFailed } from './request-log.js';

/** For clients other than devices, which add jitter themselves. */
const RETRY_AFTER_S = 5;

/** Answers every error as a problem document (RFC 9457) and logs it once. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly logger: Logger) {}

  async catch(thrown: unknown, host: ArgumentsHost): Promise<void> {
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const request = host.switchToHttp().getRequest<FastifyRequest>();
    await inRequest(request, () => this.answer(thrown, request, reply));
  }

  /** Called before an error is answered. Subclasses write their audit here. */
  protected refused(_request: FastifyRequest, _error: WaypostError): Promise<void> {
    return Promise.resolve();
  }

  private async answer(thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    if (isHealthReport(thrown)) {
      await reply.status(thrown.getStatus()).send(thrown.getResponse());
      return;
    }
    if (isClientGone(thrown, request)) {
      markRequestFailed(request, 'CLIENT_GONE');
      reply.raw.destroy();
      return;
    }
    const error = toWaypostError(thrown);
    markRequestFailed(request, error.code);
    const facts = { method: request.method, url: loggedUrl(request), ip: request.ip };
    if (error.status >= 500) this.logger.error({ err: error, ...facts }, 'request failed');
    else this.logger[levelOf(error)]({ err: withoutStack(error), ...facts }, 'request refused');
    await this.refused(request, error).catch((cause: unknown) => {
      this.logger.error({ err: cause }, 'the refusal could not be audited');
    });
    if (reply.sent || reply.raw.headersSent) {
      // The headers are sent: only closing the connection tells the client that the body is incomplete.
      reply.raw.destroy();
      return;
    }
    if (error.code === 'CENTRAL_BUSY') reply.header('retry-after', RETRY_AFTER_S);
    if (error.status === 401) reply.header('www-authenticate', 'Bearer');
    await reply
      .status(error.status)
      .header('content-type', PROBLEM_TYPE)
      .send(withoutSecrets(toProblem(error, request.id)));
  }
}

/** A detail may quote what the client sent. */
export function withoutSecrets(problem: Problem): Problem {
  return problem.detail === undefined ? problem : { ...problem, detail: redactText(problem.detail) };
}

/** A client that is told to slow down must not fill the log. */
function levelOf({ code }: WaypostError): 'warn' | 'debug' {
  return code === 'TOO_MANY_REQUESTS' ? 'debug' : 'warn';
}

/** A refusal is the client's error: a stack of this code says nothing about it. Its cause may be for the log alone. */
function withoutStack({ name, code, heals, message, hint, cause }: WaypostError): object {
  return { type: name, message, code, heals, hint, ...(cause instanceof Error ? { cause: cause.message } : {}) };
}

const BROKEN_STREAM = /^(ABORT_ERR|ERR_STREAM_PREMATURE_CLOSE|ECONNRESET|EPIPE)$/;

/** Whether a stream broke because its client disconnected: no client waits for an answer, and nothing failed here. */
function isClientGone(thrown: unknown, request: FastifyRequest): boolean {
  const isBrokenStream = BROKEN_STREAM.test(sqlStateOf(thrown) ?? '') || (thrown as Error | null)?.name === 'AbortError';
  return isBrokenStream && !(thrown instanceof WaypostError) && request.raw.socket.destroyed;
}

/** Terminus throws its report when a check is down. */
function isHealthReport(thrown: unknown): thrown is HttpException {
  if (!(thrown instanceof HttpException) || thrown.getStatus() !== 503) return false;
  const body = thrown.getResponse();
  return typeof body === 'object' && 'status' in body && 'details' in body;
}
