import { HttpException } from '@nestjs/common';
import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { databaseError } from './database-errors.js';
import { sqlStateOf } from './sql-state.js';
import { MAX_DETAIL_CHARS, shorten } from './shorten.js';

/** Error codes of Fastify and Node, as Waypost's. */
const FRAMEWORK_ERRORS: Record<string, ErrorCode> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'REQUEST_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'MEDIA_TYPE_UNSUPPORTED',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'REQUEST_INVALID',
  ENOSPC: 'STORAGE_FAILED',
  EACCES: 'STORAGE_FAILED',
  EROFS: 'STORAGE_FAILED',
  EIO: 'STORAGE_FAILED',
};

/** Any error as a WaypostError. */
export function toWaypostError(error: unknown): WaypostError {
  if (error instanceof WaypostError) return error;
  const code = sqlStateOf(error) ?? '';
  const known = FRAMEWORK_ERRORS[code];
  if (known) return new WaypostError(known, { detail: (error as Error).message, cause: error });
  // Its message is the URL, which no one can read, and which may hold anything.
  if (code === 'FST_ERR_BAD_URL') return new WaypostError('REQUEST_INVALID', { detail: 'The URL cannot be decoded.', cause: error });
  const fault = databaseError(error);
  if (fault) return fault;
  const status = error instanceof HttpException ? error.getStatus() : (error as { statusCode?: number } | null)?.statusCode;
  if (status === undefined || status < 400 || status >= 500) return new WaypostError('INTERNAL', { cause: error });
  if (status === 413) return new WaypostError('REQUEST_TOO_LARGE', { cause: error });
  // Messages of Nest and Fastify quote what they refuse, such as the URL.
  const detail = shorten((error as Error).message, MAX_DETAIL_CHARS);
  if (status === 404) return new WaypostError('ROUTE_UNKNOWN', { detail });
  if (status === 415) return new WaypostError('MEDIA_TYPE_UNSUPPORTED', { detail });
  return new WaypostError(/\bJSON\b/.test(detail) ? 'REQUEST_NOT_JSON' : 'REQUEST_INVALID', { detail });
}
