import { Module } from '@nestjs/common';
import { StateModule } from '../state/state.module.js';
import { LoadTransaction } from './load-transaction.js';

/** Load and verify: one transaction. */
@Module({ imports: [StateModule], providers: [LoadTransaction], exports: [LoadTransaction] })
export class LoadModule {}
