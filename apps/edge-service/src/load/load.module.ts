import { Module } from '@nestjs/common';
import { LoadTransaction } from './load-transaction.js';

/** Load and verify: one transaction. */
@Module({ providers: [LoadTransaction], exports: [LoadTransaction] })
export class LoadModule {}
