import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext, type DetailedPeerCertificate, getCACertificates, type SecureContext, type TLSSocket } from 'node:tls';
import { WaypostError } from '@waypost/contracts';
import { TLS_POLICY } from '@waypost/runtime';
import { buildConnector } from 'undici';

/** Whom the device believes to be central: the system's authorities where neither is set. */
export interface CentralTrust {
  /** Path of authorities in PEM, which alone count. */
  caFile?: string | undefined;
  /** SHA-256 of central's certificate or of an authority that it sends along; 64 hex digits in lower case. It alone counts. */
  fingerprint?: string | undefined;
}

/** What the device shows of itself, in PEM. */
export interface ClientCertificate {
  privateKey: string;
  certificate: string;
}

interface Target {
  url: string;
  trust: CentralTrust;
  /** Shown where central asks for one. */
  client?: ClientCertificate | undefined;
  timeoutMs: number;
}

/** HTTP/1.1 is what central speaks, and what is tested. */
const HTTP_1 = { allowH2: false };

/**
 * What opens connections to central, for an Agent of undici. Nothing is sent before the other side is known to be central.
 * Connections fail with CENTRAL_UNTRUSTED where its fingerprint is another, else with the errors that `untrustedError` knows.
 * @throws WaypostError CONFIG_INVALID where CENTRAL_CA cannot be used
 */
export function connectorTo({ url, trust, client, timeoutMs }: Target): buildConnector.connector {
  const options = { ...HTTP_1, timeout: timeoutMs };
  if (new URL(url).protocol === 'http:') return buildConnector(options);
  if (trust.fingerprint !== undefined) return pinnedConnector(trust.fingerprint, client, options);
  const authorities = trust.caFile === undefined ? systemAuthorities() : [readAuthorities(trust.caFile)];
  return buildConnector({ ...options, secureContext: contextOf(authorities, client) });
}

/**
 * Looks at the certificates before anything is sent. Central's own needs no more than to be the pinned one: neither name nor date count. An
 * authority is public, so that anyone can send it along: once it is seen, OpenSSL checks signatures, name and date against it alone, on
 * another connection.
 */
function pinnedConnector(
  fingerprint: string,
  client: ClientCertificate | undefined,
  options: buildConnector.BuildOptions,
): buildConnector.connector {
  const unchecked = buildConnector({
    ...options,
    secureContext: createSecureContext({ ...TLS_POLICY, ...shownBy(client) }),
    rejectUnauthorized: false,
    maxCachedSessions: 0, // a resumed session does not repeat the chain
  });
  let checked: buildConnector.connector | undefined;
  return (target, callback) => {
    if (checked) return checked(target, callback);
    unchecked(target, (...[error, socket]) => {
      if (error) return callback(error, null);
      const chain = chainOf(socket as TLSSocket);
      if (fingerprintOf(chain[0]) === fingerprint) return callback(null, socket);
      socket.destroy();
      const authority = chain.find((certificate) => certificate.ca && fingerprintOf(certificate) === fingerprint);
      if (!authority) return callback(otherFingerprint(chain), null);
      checked = buildConnector({ ...options, secureContext: contextOf([authority.toString()], client) });
      checked(target, callback);
    });
  };
}

/** As the other side sent it, its own certificate first. Who signed whom is not checked. */
function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  const seen = new Set<string>();
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (next?.raw && !seen.has(next.fingerprint256)) {
    seen.add(next.fingerprint256);
    chain.push(new X509Certificate(next.raw));
    next = next.issuerCertificate;
  }
  return chain;
}

function fingerprintOf(certificate: X509Certificate | undefined): string | undefined {
  return certificate?.fingerprint256.replaceAll(':', '').toLowerCase();
}

function otherFingerprint([first]: X509Certificate[]): WaypostError {
  return new WaypostError('CENTRAL_UNTRUSTED', {
    detail: `Neither central’s certificate nor an authority that it sent has the pinned fingerprint; its own is ${first?.fingerprint256 ?? 'unknown'}.`,
    hint: 'If central’s certificate was replaced, set CENTRAL_FINGERPRINT to the new one’s (`waypost certs` prints it), or better to its authority’s, which stays. If not, find out what answers at CENTRAL_URL.',
  });
}

/** Made once: with some hundred authorities it takes longer than a handshake. */
function contextOf(authorities: string[], client: ClientCertificate | undefined): SecureContext {
  return createSecureContext({ ...TLS_POLICY, ...shownBy(client), ca: authorities, allowPartialTrustChain: true });
}

function shownBy(client: ClientCertificate | undefined): { cert?: string; key?: string } {
  return client ? { cert: client.certificate, key: client.privateKey } : {};
}

/** Those that come with Node, those of NODE_EXTRA_CA_CERTS, and those of the machine. */
function systemAuthorities(): string[] {
  return [...new Set([...getCACertificates('default'), ...getCACertificates('system')])];
}

function readAuthorities(file: string): string {
  let cause: unknown;
  try {
    const pem = readFileSync(file, 'utf8');
    new X509Certificate(pem);
    return pem;
  } catch (error) {
    cause = error;
  }
  throw new WaypostError('CONFIG_INVALID', {
    detail: `CENTRAL_CA: ${file} cannot be read, or is no certificate in PEM: ${(cause as Error).message}`,
    hint: 'Name the ca.crt that `waypost certs init` made at central, or the file of the authority that signed central’s certificate.',
    cause,
  });
}
