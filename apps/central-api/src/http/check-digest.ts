import { createHash } from 'node:crypto';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { readContentDigest, WaypostError } from '@waypost/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';

const NAMES_SHA256 = /(?:^|[,\s])sha-256\s*=/i;

/**
 * Holds a body against its Content-Digest (RFC 9530), if it has one with sha-256: TCP's checksum lets one damaged packet in some ten million
 * pass, and an ack that says something else than what was sent would stand in the audit for good. The body ends with REQUEST_CORRUPT then.
 */
export async function checkDigest(request: FastifyRequest, _reply: FastifyReply, payload: Readable): Promise<Readable> {
  const header = request.headers['content-digest'];
  const expected = readContentDigest(header);
  if (expected === undefined) {
    if (!NAMES_SHA256.test(String(header ?? ''))) return payload;
    throw new WaypostError('REQUEST_INVALID', { detail: 'The Content-Digest header is malformed: write sha-256=:<base64>:' });
  }
  const hash = createHash('sha256');
  const checked = new Transform({
    transform(part: Buffer, _encoding, done) {
      hash.update(part);
      done(null, part);
    },
    flush(done) {
      done(hash.digest('base64') === expected ? null : new WaypostError('REQUEST_CORRUPT'));
    },
  });
  // Its error reaches the reader of `checked`.
  pipeline(payload, checked).catch(() => undefined);
  return checked;
}
