import type { PipeTransform } from '@nestjs/common';
import type { z } from 'zod';
import { parseMessage } from './parse-message.js';

/** Validates a body or a query: `@Body(new ZodPipe(schema))`. */
export class ZodPipe<Schema extends z.ZodType> implements PipeTransform<unknown, z.infer<Schema>> {
  constructor(private readonly schema: Schema) {}

  /** @throws WaypostError REQUEST_INVALID */
  transform(value: unknown): z.infer<Schema> {
    return parseMessage(this.schema, value);
  }
}
