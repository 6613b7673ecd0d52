import { Module } from '@nestjs/common';
import { EpochKeeper } from './epoch-keeper.js';

@Module({ providers: [EpochKeeper], exports: [EpochKeeper] })
export class EpochsModule {}
