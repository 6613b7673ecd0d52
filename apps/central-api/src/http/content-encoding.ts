import type { Transform } from 'node:stream';
import { createGzip, createZstdCompress } from 'node:zlib';
import { accepts } from './accept.js';

/** The encoding to answer with: zstd before gzip, none if the client names neither or refuses both. */
export function chooseEncoding(acceptEncoding: string | undefined): 'zstd' | 'gzip' | undefined {
  return (['zstd', 'gzip'] as const).find((encoding) => accepts(acceptEncoding, encoding));
}

export function createEncoder(encoding: 'zstd' | 'gzip'): Transform {
  return encoding === 'zstd' ? createZstdCompress() : createGzip({ level: 1 });
}
