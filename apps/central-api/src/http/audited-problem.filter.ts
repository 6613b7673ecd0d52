import { Catch, Inject, Injectable } from '@nestjs/common';
import type { WaypostError } from '@waypost/contracts';
import { LOGGER } from '@waypost/runtime';
import { ProblemFilter } from '@waypost/runtime/service';
import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { AttemptLimits } from './attempt-limits.js';
import { operationOf } from './operation.js';
import { accessOf } from './routes.js';
import { auditOf, RequestAudit } from '../audit/request-audit.js';

/** Answers errors as problems, and audits those of devices: also what never reached a controller, such as a body that is not JSON. */
@Catch()
@Injectable()
export class AuditedProblemFilter extends ProblemFilter {
  constructor(
    @Inject(LOGGER) logger: Logger,
    private readonly audit: RequestAudit,
    private readonly limits: AttemptLimits,
  ) {
    super(logger);
  }

  protected override async refused(request: FastifyRequest, error: WaypostError): Promise<void> {
    await this.limits.failed(request, error);
    const operation = operationOf(request) ?? (accessOf(request) === undefined ? undefined : 'operator');
    if (operation) await this.audit.refused(auditOf(request, operation), error);
  }
}
