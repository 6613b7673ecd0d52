import { hash } from 'node:crypto';

/** HTTP's Content-Digest header (RFC 9530) of a body, with sha-256. */
export function contentDigest(body: string): string {
  return `sha-256=:${hash('sha256', body, 'base64')}:`;
}

/** The sha-256 in a Content-Digest header, in base64; undefined where there is none. */
export function readContentDigest(header: string | string[] | undefined): string | undefined {
  return /(?:^|[,\s])sha-256=:([A-Za-z0-9+/=]+):/.exec(String(header ?? ''))?.[1];
}
