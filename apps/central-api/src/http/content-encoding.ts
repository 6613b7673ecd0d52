import type { Transform } from 'node:stream';
import { promisify } from 'node:util';
import { createGzip, createZstdCompress, gzip, zstdCompress } from 'node:zlib';
import { accepts } from './accept.js';

/** The encoding to answer with: zstd before gzip, none if the client names neither or refuses both. */
export function chooseEncoding(acceptEncoding: string | undefined): 'zstd' | 'gzip' | undefined {
  return (['zstd', 'gzip'] as const).find((encoding) => accepts(acceptEncoding, encoding));
}

export function createEncoder(encoding: 'zstd' | 'gzip'): Transform {
  return encoding === 'zstd' ? createZstdCompress() : createGzip({ level: 1 });
}

const zstdWhole = promisify(zstdCompress);
const gzipWhole = promisify(gzip);

/** A whole body. */
export function encode(body: Buffer, encoding: 'zstd' | 'gzip'): Promise<Buffer> {
  return encoding === 'zstd' ? zstdWhole(body) : gzipWhole(body, { level: 1 });
}
