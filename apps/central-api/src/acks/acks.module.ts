import { Module } from '@nestjs/common';
import { AckService } from './ack-service.js';

@Module({ providers: [AckService], exports: [AckService] })
export class AcksModule {}
