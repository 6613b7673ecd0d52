import { Body, Controller, HttpCode, Inject, Post, Req, Res } from '@nestjs/common';
import {
  type EnrollRequest,
  enrollRequestSchema,
  type EnrollResponse,
  type TokenRequest,
  tokenRequestSchema,
  type TokenResponse,
} from '@waypost/contracts';
import { LOGGER } from '@waypost/runtime';
import { ZodPipe } from '@waypost/runtime/service';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { RequestAudit, type RequestFacts } from '../audit/request-audit.js';
import { AccessTokens } from '../identity/access-tokens.js';
import { Enrollment } from '../identity/enrollment.js';
import { kidOf } from '../identity/verify-jwt.js';
import { TrustKeeper } from '../trust/trust-keeper.js';
import { AttemptLimits } from './attempt-limits.js';
import { Facts } from './device.guard.js';
import { DeviceOperation } from './operation.js';

/** Both messages are short; strangers send them, too. */
const MAX_BODY_BYTES = 8 << 10;

/** How a device becomes known, and gets an access token. */
@Controller('api')
export class IdentityController {
  constructor(
    private readonly enrollment: Enrollment,
    private readonly tokens: AccessTokens,
    private readonly trust: TrustKeeper,
    private readonly audit: RequestAudit,
    private readonly limits: AttemptLimits,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  @Post('devices/enroll')
  @DeviceOperation('enroll', { maxBodyBytes: MAX_BODY_BYTES })
  @HttpCode(200)
  async enroll(@Body(new ZodPipe(enrollRequestSchema)) request: EnrollRequest, @Facts() facts: RequestFacts): Promise<EnrollResponse> {
    const enrolled = await this.enrollment.enroll(request);
    facts.accept(enrolled.mac);
    await this.audit.enrolled(facts);
    this.logger.info({ deviceId: enrolled.deviceId, state: enrolled.state }, 'a device enrolled');
    return { ...enrolled, trust: (await this.trust.current()).signed };
  }

  @Post('auth/token')
  @DeviceOperation('token', { maxBodyBytes: MAX_BODY_BYTES })
  @HttpCode(200)
  async token(
    @Body(new ZodPipe(tokenRequestSchema)) message: TokenRequest,
    @Facts() facts: RequestFacts,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<TokenResponse> {
    await this.limits.admit(request, reply, kidOf(message.client_assertion) ?? '');
    const { mac, ...token } = await this.tokens.issue(message);
    facts.accept(mac);
    this.audit.count(facts, null);
    this.limits.succeeded(request);
    return token;
  }
}
