import 'reflect-metadata'; // the library needs it, and does not load it
import { WaypostError } from '@waypost/contracts';
import * as x509 from '@peculiar/x509';
import { type HostName, parseHostName } from './host-name.js';

/**
 * The names and addresses that a server's certificate is for.
 * @throws WaypostError CONFIG_INVALID where it has none, or others than names and addresses
 */
export function hostsOf(certificate: string): HostName[] {
  const names = new x509.X509Certificate(certificate).getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  if (names.length > 0 && names.every(({ type }) => type === 'dns' || type === 'ip')) return names.map(({ value }) => parseHostName(value));
  throw new WaypostError('CONFIG_INVALID', {
    detail: 'The certificate has no host names and addresses, or has others than those.',
    hint: 'Make a new one: waypost certs server --dir DIR --host NAME',
  });
}
