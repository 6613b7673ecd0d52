import { once } from 'node:events';
import { get as getByHttp, type IncomingMessage } from 'node:http';
import { get as getByHttps } from 'node:https';
import { text } from 'node:stream/consumers';
import { WaypostError } from '@waypost/contracts';

/** What sends a request; its errors, or their cause, carry what went wrong. */
export type Send = (url: URL, init: { signal: AbortSignal }) => Promise<Pick<Response, 'ok' | 'status' | 'text'>>;

/** How a program comes to a service. */
export interface Reach {
  /** Authorities in PEM, which alone may sign the service's certificate; by default those of Node, with NODE_EXTRA_CA_CERTS. */
  ca?: string | undefined;
  /** For this machine alone: the certificate is for the names that devices use. */
  skipsCertificate?: boolean;
  /** Goes in the header X-API-Key, to the address that is asked and nowhere else. */
  apiKey?: string | undefined;
}

/** Sends GETs, and follows no redirect: the key is for one address. The errors of sending are Node's; a redirect is CONFIG_INVALID. */
export function sendBy({ ca, skipsCertificate = false, apiKey }: Reach): Send {
  const headers = { accept: 'application/json', ...(apiKey === undefined ? {} : { 'x-api-key': apiKey }) };
  const tls = { ...(ca === undefined ? {} : { ca }), rejectUnauthorized: !skipsCertificate };
  return async (url, { signal }) => {
    const options = { headers, signal, agent: false } as const;
    const request = url.protocol === 'https:' ? getByHttps(url, { ...options, ...tls }) : getByHttp(url, options);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const status = response.statusCode as number;
    const { location } = response.headers;
    if (status >= 300 && status < 400 && location !== undefined) {
      response.destroy();
      const hint = 'Give the address that it redirects to.';
      throw new WaypostError('CONFIG_INVALID', { detail: `${url.origin} redirects to ${location}.`, hint });
    }
    return { ok: status >= 200 && status < 300, status, text: () => text(response) };
  };
}
