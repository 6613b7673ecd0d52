import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import type { INestApplication } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { findListener } from '../system/port-owner.js';
import { sqlStateOf } from '../errors/sql-state.js';

/**
 * Starts to accept requests.
 * @returns the URL of the bound address, such as http://0.0.0.0:8080, or https:// where it speaks TLS. Nest's getUrl says 127.0.0.1 there, although the service is reachable from outside.
 * @throws WaypostError PORT_IN_USE that names the process on the port where the platform tells it; CONFIG_INVALID where HOST or PORT cannot be used
 */
export async function listen(app: INestApplication, port: number, host: string): Promise<string> {
  try {
    await app.listen(port, host);
    return urlOf(app.getHttpServer() as Server);
  } catch (error) {
    throw (await listenError(error, port, host, { port: 'PORT', host: 'HOST' })) ?? error;
  }
}

/**
 * As `listen`, of a server without an application.
 * @param names of the variables that say where
 */
export async function listenOn(server: Server, port: number, host: string, names: Names): Promise<string> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
    return urlOf(server);
  } catch (error) {
    throw (await listenError(error, port, host, names)) ?? error;
  }
}

interface Names {
  port: string;
  host: string;
}

function urlOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo;
  return `${server instanceof TlsServer ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

async function listenError(cause: unknown, port: number, host: string, names: Names): Promise<WaypostError | undefined> {
  switch (sqlStateOf(cause)) {
    case 'EADDRINUSE': {
      const owner = await findListener(port);
      const held = owner ? `process ${owner.pid} (${owner.name})` : 'another process, which this user may not see';
      return new WaypostError('PORT_IN_USE', { detail: `Port ${port} at ${host} is held by ${held}.` });
    }
    case 'EACCES':
      return new WaypostError('CONFIG_INVALID', { detail: `${names.port}: this user may not listen on port ${port}.` });
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new WaypostError('CONFIG_INVALID', { detail: `${names.host}: ${host} is no address of this machine.` });
    default:
      return undefined;
  }
}
