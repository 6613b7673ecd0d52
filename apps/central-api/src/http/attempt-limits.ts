import rateLimit from '@fastify/rate-limit';
import { Inject, Injectable } from '@nestjs/common';
import { type ErrorCode, WaypostError } from '@waypost/contracts';
import { LOGGER } from '@waypost/runtime';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import { IDENTITY_OPTIONS, type IdentityOptions } from '../identity/identity-options.js';
import { DEVICE_API_OPTIONS, type DeviceApiOptions } from './device-api-options.js';
import { operationOf } from './operation.js';

type Counter = ReturnType<FastifyInstance['createRateLimit']>;

/** Attempts are counted apart by what is tried: a device without a token keeps no neighbour from enrolling. */
type Kind = 'request' | 'token' | 'enroll' | 'operator';

interface Counters {
  /** By address; an IPv6 network of 64 bits, which one customer has, counts as one. */
  addresses: Record<Kind, Counter>;
  /** By address and identity. */
  identities: Counter;
}

const WINDOW_MS = 60_000;
/** Of one identity from one address: a device that has lost its key must not use up what its neighbours behind the same address may try. */
const MAX_PER_IDENTITY = 30;
/** Addresses that are counted at one time; beyond, those that were not seen for longest begin again. */
const MAX_COUNTED = 20_000;
/** Identities that are remembered as good. */
const MAX_KNOWN = 100_000;

/** What anyone can send again and again. An access token that is not valid is none of it: it is refused without a query. */
const COUNTED: ReadonlySet<ErrorCode> = new Set(['AUTH_REQUIRED', 'ASSERTION_INVALID', 'API_KEY_REQUIRED', 'API_KEY_INVALID']);

/**
 * Slows down those who try: failed attempts of one address, and of one identity from it, and enrollments. What is valid is never counted, and an identity
 * that was good lately is let through, whatever its neighbours do. Counts are of this process.
 */
@Injectable()
export class AttemptLimits {
  private counters: Counters | undefined;
  private readonly identities = new WeakMap<FastifyRequest, string>();
  private readonly known = new LRUCache<string, true>({ max: MAX_KNOWN });
  private readonly reported = new LRUCache<string, true>({ max: MAX_COUNTED, ttl: WINDOW_MS });

  constructor(
    @Inject(DEVICE_API_OPTIONS) private readonly options: DeviceApiOptions,
    @Inject(IDENTITY_OPTIONS) private readonly identity: IdentityOptions,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** To be awaited before requests come. */
  async attachTo(server: FastifyInstance): Promise<void> {
    await server.register(rateLimit, { global: false });
    const { failedAttempts, enrollments } = this.options;
    const counter = (max: number): Counter => server.createRateLimit(windowOf(max));
    this.counters = {
      addresses: {
        request: counter(failedAttempts),
        token: counter(failedAttempts),
        enroll: counter(enrollments),
        operator: counter(failedAttempts),
      },
      identities: server.createRateLimit({
        ...windowOf(failedAttempts === Infinity ? Infinity : Math.min(failedAttempts, MAX_PER_IDENTITY)),
        keyGenerator: (request) => `${request.ip} ${this.nameOf(request)}`,
      }),
    };
  }

  /**
   * An onRequest hook of Fastify: before the body is read, and before any query.
   * @throws WaypostError TOO_MANY_REQUESTS
   */
  readonly check = async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const operation = operationOf(request);
    // Who asks for a token is in the body: `admit`.
    if (operation === undefined || operation === 'token') return;
    if (operation === 'enroll') return this.countEnrollment(request, reply);
    if (this.identity.mode === 'device' && request.headers.authorization === undefined) await this.checkAddress(request, reply);
  };

  /**
   * Before an identity is looked up that a request claims.
   * @throws WaypostError TOO_MANY_REQUESTS
   */
  async admit(request: FastifyRequest, reply: FastifyReply, identity: string): Promise<void> {
    this.identities.set(request, identity);
    const { remaining, ttl } = numbersOf(await this.get().identities(request, { increment: false }));
    if (remaining === 0) this.refuse(request, reply, ttl);
    if (!this.known.has(this.nameOf(request))) await this.checkAddress(request, reply);
  }

  /** The identity that was admitted is good. */
  succeeded(request: FastifyRequest): void {
    this.known.set(this.nameOf(request), true);
  }

  /** Counts a request that was refused, if it is of those that count. */
  async failed(request: FastifyRequest, { code }: WaypostError): Promise<void> {
    if (!COUNTED.has(code)) return;
    const { addresses, identities } = this.get();
    if (this.identities.has(request)) await identities(request);
    await addresses[kindOf(request)](request);
  }

  private async countEnrollment(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { isExceeded, ttl } = numbersOf(await this.get().addresses.enroll(request));
    if (isExceeded) this.refuse(request, reply, ttl);
  }

  /** Before a request without any identity is refused. @throws WaypostError TOO_MANY_REQUESTS */
  async checkAddress(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { remaining, ttl } = numbersOf(await this.get().addresses[kindOf(request)](request, { increment: false }));
    if (remaining === 0) this.refuse(request, reply, ttl);
  }

  private refuse(request: FastifyRequest, reply: FastifyReply, ttlMs: number): never {
    const facts = { ip: request.ip, kind: kindOf(request) };
    const name = `${facts.kind} ${facts.ip}`;
    if (!this.reported.has(name)) {
      this.reported.set(name, true);
      this.logger.warn(facts, 'an address has failed too often: its next attempts are refused for a while');
    }
    void reply.header('retry-after', Math.max(1, Math.ceil(ttlMs / 1000)));
    throw new WaypostError('TOO_MANY_REQUESTS');
  }

  private get(): Counters {
    if (!this.counters) throw new Error('attachTo was not called');
    return this.counters;
  }

  private nameOf(request: FastifyRequest): string {
    return `${kindOf(request)} ${this.identities.get(request)}`;
  }
}

function kindOf(request: FastifyRequest): Kind {
  const operation = operationOf(request);
  if (operation === undefined) return 'operator';
  return operation === 'enroll' || operation === 'token' ? operation : 'request';
}

function windowOf(max: number) {
  return { max: Math.min(max, Number.MAX_SAFE_INTEGER), timeWindow: WINDOW_MS, cache: MAX_COUNTED };
}

type Count = Awaited<ReturnType<Counter>>;

/** There is no list of addresses that are always allowed. */
function numbersOf(count: Count): Extract<Count, { isAllowed: false }> {
  if (count.isAllowed) throw new Error('counted without a limit');
  return count;
}
