import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { API_KEY, isLoopback, WaypostError } from '@waypost/contracts';

/** A value, and what gave it, for error messages. */
interface Given {
  source: string;
  value: string;
}

/** @returns authorities in PEM @throws WaypostError CONFIG_INVALID */
export async function readAuthorities({ source, value: path }: Given): Promise<string> {
  const pem = await readText(source, path);
  try {
    new X509Certificate(pem);
    return pem;
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `${source}: ${path} is no certificate in PEM.`,
      hint: 'Name the ca.crt that `waypost certs init` made at central, or the file of the authority that signed its certificate.',
      cause,
    });
  }
}

/** The API key in a file. @throws WaypostError CONFIG_INVALID */
export async function readApiKey({ source, value: path }: Given): Promise<string> {
  return checkApiKey({ source, value: await readText(source, path) });
}

/** @returns the key; its value stands in no error @throws WaypostError CONFIG_INVALID */
export function checkApiKey({ source, value }: Given): string {
  const key = value.trim();
  if (API_KEY.test(key)) return key;
  throw new WaypostError('CONFIG_INVALID', {
    detail: `${source} has no API key, which begins with wpk_.`,
    hint: 'Make one at central: waypost key add --name console --allow status',
  });
}

/** A key goes to another machine by TLS alone. @throws WaypostError CONFIG_INVALID */
export function mustKeepSecret(url: string, env: NodeJS.ProcessEnv): void {
  const parsed = URL.parse(url);
  if (parsed?.protocol !== 'http:' || isLoopback(parsed) || env['ALLOW_INSECURE'] === 'true') return;
  throw new WaypostError('CONFIG_INVALID', {
    detail: `The API key is not sent to ${parsed.origin}: it is plain HTTP to another machine.`,
    hint: 'Write https://, or set ALLOW_INSECURE=true where no other machine is on the network. Without WAYPOST_API_KEY no key is sent.',
  });
}

async function readText(source: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `${source}: ${(cause as Error).message}.`,
      hint: 'Name a file that this user may read.',
      cause,
    });
  }
}
