import { Inject, Injectable } from '@nestjs/common';
import { type Right, secretDigest, WaypostError } from '@waypost/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ApiKeys, idOf, isSame } from '../identity/api-keys.js';
import { AdminListener } from './admin-listener.js';
import { AttemptLimits } from './attempt-limits.js';
import { BEARER } from './bearer.js';
import { OPERATOR_OPTIONS, type OperatorOptions } from './operator-options.js';

/** Decides who may see what is for operators and their programs: by an API key, METRICS_TOKEN, or the listener that a request came to. */
@Injectable()
export class OperatorAccess {
  constructor(
    private readonly keys: ApiKeys,
    private readonly limits: AttemptLimits,
    private readonly listener: AdminListener,
    @Inject(OPERATOR_OPTIONS) private readonly options: OperatorOptions,
  ) {}

  /** @throws WaypostError API_KEY_REQUIRED, API_KEY_INVALID, API_KEY_RIGHT_MISSING, TOO_MANY_REQUESTS */
  async demand(request: FastifyRequest, reply: FastifyReply, right: Right): Promise<void> {
    const secret = request.headers['x-api-key'];
    if (secret !== undefined) return this.demandKey(request, reply, right, String(secret));
    if (right === 'metrics' && this.isTokensOwner(request)) return;
    if (right === 'metrics' && this.isOpen(request)) return;
    await this.limits.checkAddress(request, reply);
    throw new WaypostError(request.headers.authorization === undefined ? 'API_KEY_REQUIRED' : 'API_KEY_INVALID');
  }

  /**
   * Whether a request to /health gets the details. Without, it still gets the status: a probe is not refused.
   * @throws WaypostError as `demand`, where it shows a key that opens nothing
   */
  async seesHealth(request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
    const { authorization, 'x-api-key': secret } = request.headers;
    if (secret === undefined && authorization === undefined) return this.isOpen(request);
    if (!this.isTokensOwner(request)) await this.demand(request, reply, 'status');
    return true;
  }

  private async demandKey(request: FastifyRequest, reply: FastifyReply, right: Right, secret: string): Promise<void> {
    await this.limits.admit(request, reply, idOf(secret) ?? '');
    const key = await this.keys.authenticate(secret);
    this.limits.succeeded(request);
    if (key.rights.includes(right)) return;
    throw new WaypostError('API_KEY_RIGHT_MISSING', { detail: `The key ${key.name} may not do this: it lacks the right ${right}.` });
  }

  /** METRICS_TOKEN in the header Authorization. */
  private isTokensOwner({ headers: { authorization } }: FastifyRequest): boolean {
    const [, token] = BEARER.exec(authorization ?? '') ?? [];
    const { metricsToken } = this.options;
    return metricsToken !== undefined && token !== undefined && isSame(secretDigest(token), secretDigest(metricsToken));
  }

  /** Without METRICS_TOKEN: on the operators' own listener; on the public one where there is no other. */
  private isOpen(request: FastifyRequest): boolean {
    return this.options.metricsToken === undefined && (this.listener.isSeparate ? this.listener.received(request) : true);
  }
}
