import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { auditOf } from '../audit/request-audit.js';
import { AccessTokens } from '../identity/access-tokens.js';
import { IDENTITY_OPTIONS, type IdentityOptions } from '../identity/identity-options.js';
import { AdminListener } from './admin-listener.js';
import { BEARER } from './bearer.js';
import { ClientCertificates } from './client-certificates.js';
import { operationOf } from './operation.js';
import { OperatorAccess } from './operator-access.js';
import { type Access, accessOf } from './routes.js';

/** Identifies the sender of each request by its access token, before its body is read: a stranger's is refused without a query. */
@Injectable()
export class Authenticator {
  constructor(
    private readonly tokens: AccessTokens,
    private readonly certificates: ClientCertificates,
    private readonly operators: OperatorAccess,
    private readonly listener: AdminListener,
    @Inject(IDENTITY_OPTIONS) private readonly options: IdentityOptions,
  ) {}

  /** An onRequest hook of Fastify. @throws WaypostError AUTH_REQUIRED, TOKEN_INVALID, CERTIFICATE_REQUIRED; those of OperatorAccess; ROUTE_UNKNOWN */
  readonly authenticate = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const access = accessOf(request);
    if (access === undefined) return;
    this.mustBeHere(request, access);
    if (access === 'public' || access === 'probe') return;
    if (access === 'health') request.seesDetails = await this.operators.seesHealth(request, reply);
    else if (access === 'device') await this.identify(request);
    else await this.operators.demand(request, reply, access.key);
  };

  /** Devices and operators are served at two addresses where ADMIN_PORT is set. */
  private mustBeHere(request: FastifyRequest, access: Access): void {
    if (!this.listener.isSeparate || access === 'probe' || access === 'health') return;
    if (this.listener.received(request) !== (typeof access === 'object'))
      throw new WaypostError('ROUTE_UNKNOWN', { detail: 'Central serves this at its other address.' });
  }

  private async identify(request: FastifyRequest): Promise<void> {
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
  }
}
