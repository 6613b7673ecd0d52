import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import type { FastifyRequest } from 'fastify';
import { auditOf } from '../audit/request-audit.js';
import { AccessTokens } from '../identity/access-tokens.js';
import { IDENTITY_OPTIONS, type IdentityOptions } from '../identity/identity-options.js';
import { ClientCertificates } from './client-certificates.js';
import { operationOf } from './operation.js';
import { accessOf } from './routes.js';

const BEARER = /^bearer +([\w.-]+)$/i;

/** Identifies the sender of each request by its access token, before its body is read: a stranger's is refused without a query. */
@Injectable()
export class Authenticator {
  constructor(
    private readonly tokens: AccessTokens,
    private readonly certificates: ClientCertificates,
    @Inject(IDENTITY_OPTIONS) private readonly options: IdentityOptions,
  ) {}

  /** An onRequest hook of Fastify. @throws WaypostError AUTH_REQUIRED, TOKEN_INVALID, CERTIFICATE_REQUIRED */
  readonly authenticate = async (request: FastifyRequest): Promise<void> => {
    if (accessOf(request) !== 'device') return;
    const { authorization } = request.headers;
    if (authorization === undefined) {
      // DeviceGuard goes by the MAC that the message names.
      if (this.options.mode === 'mac') return;
      throw new WaypostError('AUTH_REQUIRED');
    }
    const [, token] = BEARER.exec(authorization) ?? [];
    if (token === undefined)
      throw new WaypostError('TOKEN_INVALID', { cause: new Error('the header Authorization holds no bearer token') });
    const { mac, deviceId, thumbprint: key } = await this.tokens.authenticate(token);
    const operation = operationOf(request);
    if (operation) auditOf(request, operation).accept(mac);
    await this.certificates.check(request.raw.socket, { deviceId, thumbprint: key });
    request.device = { mac, deviceId, key };
  };
}
