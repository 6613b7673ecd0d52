import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { zstdDecompress } from 'node:zlib';
import { contentDigest, WaypostError } from '@waypost/contracts';
import type { Dispatcher } from 'undici';
import { networkError } from './central-errors.js';

/** A manifest of 100,000 tables stays below. */
const MAX_JSON_BYTES = 64 << 20;
export const MAX_PROBLEM_BYTES = 64 << 10;

export function jsonBody(message: object): { body: string; headers: Record<string, string> } {
  const body = JSON.stringify(message);
  return { body, headers: { 'content-type': 'application/json', 'content-digest': contentDigest(body) } };
}

/** Central's clock, if the answer has it. */
export function dateOf({ date }: Dispatcher.ResponseData['headers']): Date | undefined {
  const time = typeof date === 'string' ? new Date(date) : undefined;
  return time && !Number.isNaN(time.getTime()) ? time : undefined;
}

const zstdWhole = promisify(zstdDecompress);

export async function readJson({ body, headers }: Dispatcher.ResponseData): Promise<unknown> {
  const bytes = await readBytes(body, MAX_JSON_BYTES);
  const isEncoded = headers['content-encoding'] === 'zstd';
  const text = (isEncoded ? await decode(bytes) : bytes).toString('utf8');
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new WaypostError('CENTRAL_REFUSED', {
      detail: 'Central’s address answered with something that is not JSON.',
      hint: 'Check CENTRAL_URL: what answers there does not seem to be a Waypost central.',
      cause,
    });
  }
}

async function decode(bytes: Buffer): Promise<Buffer> {
  try {
    return await zstdWhole(bytes, { maxOutputLength: MAX_JSON_BYTES });
  } catch (cause) {
    throw new WaypostError('CENTRAL_REFUSED', {
      detail: 'Central’s answer is no zstd frame, is not whole, or is too long.',
      hint: 'Something between device and central altered it. The next cycle asks again; if this lasts, look at the proxies on the way.',
      cause,
    });
  }
}

export async function readText(body: Readable, maxBytes: number): Promise<string> {
  return (await readBytes(body, maxBytes)).toString('utf8');
}

async function readBytes(body: Readable, maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of body as AsyncIterable<Buffer>) {
      length += part.length;
      if (length > maxBytes) throw new WaypostError('CENTRAL_REFUSED', { detail: `Central’s answer is longer than ${maxBytes} bytes.` });
      parts.push(part);
    }
  } catch (error) {
    throw networkError(error);
  }
  return Buffer.concat(parts);
}
