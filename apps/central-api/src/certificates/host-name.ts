import { isIP } from 'node:net';
import { WaypostError } from '@waypost/contracts';

/** What a certificate says its server is called. */
export interface HostName {
  kind: 'dns' | 'ip';
  /** As certificates have it: names in lower case, addresses without brackets. */
  value: string;
}

const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;
const MAX_LENGTH = 253;

/**
 * Reads a DNS name, with `*.` before it or not, or an IP address.
 * @throws WaypostError CONFIG_INVALID
 */
export function parseHostName(text: string): HostName {
  const bare = text.trim().replace(/^\[(.*)\]$/, '$1');
  if (isIP(bare)) return { kind: 'ip', value: bare };
  const name = bare.toLowerCase();
  const labels = name.replace(/^\*\./, '').split('.');
  // Names that end in a number are read as addresses, and this is none.
  if (name.length <= MAX_LENGTH && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1) as string)) {
    return { kind: 'dns', value: name };
  }
  throw new WaypostError('CONFIG_INVALID', {
    detail: `${JSON.stringify(text)} is neither a host name nor an IP address.`,
    hint: 'Name what stands in CENTRAL_URL, without scheme and port: central.example or 192.0.2.7.',
  });
}
