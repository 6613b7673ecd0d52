import { Module } from '@nestjs/common';
import { CentralModule } from '../central/central.module.js';
import { AckOutbox } from './ack-outbox.js';

@Module({ imports: [CentralModule], providers: [AckOutbox], exports: [AckOutbox] })
export class AcksModule {}
